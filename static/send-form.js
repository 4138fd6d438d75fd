// Sends the answer of an identity provider from this site, so that the browser adds its cookies.
document.querySelector("#callback-form")?.requestSubmit();
