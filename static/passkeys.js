// Asks the browser for a passkey, and sends its answer with the form. All sentences are attributes of
// the form.
const $ = (css, root = document) => root.querySelector(css);
const isSupported = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON);
const RENEWAL_MS = 4 * 60_000; // A challenge expires after five minutes.
const findForm = () => $('form[data-passkey-form]');
const say = (form, text) => { $('[data-passkey-message]', form).textContent = text ?? ''; };

// The request of the browser that is pending: its controller, whether the user pressed the button,
// and its end.
let pending;
let usedOptions;
let optionsMadeAt;
let isAnswered = false;

async function abort() {
  pending?.controller.abort();
  await pending?.end;
}

// A password manager offers passkeys in a field with `webauthn`, without a click.
async function offerInField() {
  const canOffer = $('[autocomplete~=webauthn]')
    && await PublicKeyCredential.isConditionalMediationAvailable?.();
  if (canOffer && !pending?.isPressed) await ask({mediation: 'conditional'});
}

async function ask(mediation, button) {
  const isPressed = Boolean(button);
  await abort();
  const form = findForm();
  if (!form) return;
  const controller = new AbortController();
  const {options} = form.dataset;
  const own = pending = {controller, isPressed};
  own.end = request(form, JSON.parse(options), {signal: controller.signal, ...mediation})
    .then(credential => {
      if (pending !== own || findForm()?.dataset.options !== options) return;
      send(findForm(), credential);
    }, error => {
      if (pending === own) showError(findForm(), error, isPressed);
    })
    .finally(() => { if (pending === own) pending = undefined; });
  await own.end;
}

function request(form, options, rest) {
  if (form.dataset.passkeyForm === 'create') {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return navigator.credentials.create({publicKey, ...rest});
  }
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return navigator.credentials.get({publicKey, ...rest});
}

function send(form, credential) {
  const {credential: field, remember} = form.elements;
  field.value = JSON.stringify(credential);
  if (remember) remember.value = $('#main [name=remember]:checked') ? 'on' : '';
  isAnswered = true;
  form.requestSubmit($('button', form));
  isAnswered = false;
}

function showError(form, error, isPressed) {
  if (!form || error.name === 'AbortError') return;
  const name = error.name[0].toLowerCase() + error.name.slice(1);
  if (name === 'securityError') $('button', form).hidden = true;
  else if (!isPressed) return;
  say(form, form.dataset[name] ?? form.dataset.otherError);
}

// Takes new options from the server if those of the form are about to expire.
async function renew() {
  const form = findForm();
  if (!form || Date.now() - optionsMadeAt < RENEWAL_MS) return false;
  const answer = await fetch(form.dataset.renewal, {headers: {'HX-Request': 'true'}}).catch(() => {});
  const redirect = answer?.headers.get('HX-Redirect');
  if (redirect) location.assign(redirect);
  if (!answer?.ok) return false;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const fresh = $('form[data-passkey-form]', page);
  if (!fresh || form !== findForm()) return false;
  form.dataset.options = usedOptions = fresh.dataset.options;
  form.elements.challenge.value = fresh.elements.challenge.value;
  optionsMadeAt = Date.now();
  return true;
}
async function renewOffer() {
  const isNeeded = isSupported && !document.hidden && $('[autocomplete~=webauthn]');
  if (isNeeded && !pending?.isPressed && await renew()) await offerInField();
}
setInterval(renewOffer, 30_000);
addEventListener('pageshow', renewOffer);
document.addEventListener('visibilitychange', renewOffer);

// A submit first asks the browser. A form with codes that are not saved is sent without a passkey, so
// that the server refuses it before the browser has created one.
document.addEventListener('submit', event => {
  const form = event.target;
  if (isAnswered || !form.matches('[data-passkey-form]')) return;
  if (form.elements.saved?.checked === false) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (pending?.isPressed || !isSupported) return;
  say(form, '');
  renew().then(() => ask({}, $('button', form)));
}, true);

// Tells password managers which passkeys the account has, once the server has said so.
function signal(name, details) {
  PublicKeyCredential[name]?.(details).catch(() => {});
}
let signaled;
function signalPasskeys() {
  const list = $('[data-accepted]');
  if (list && list.dataset.accepted !== signaled) {
    const {rpId, userHandle: userId, userName: name, displayName, accepted} = list.dataset;
    signaled = accepted;
    const allAcceptedCredentialIds = accepted.split(' ').filter(Boolean);
    signal('signalAllAcceptedCredentials', {rpId, userId, allAcceptedCredentialIds});
    signal('signalCurrentUserDetails', {rpId, userId, name, displayName});
  }
  const form = $('form[data-unknown]');
  if (form) {
    const {unknown: credentialId, options} = form.dataset;
    signal('signalUnknownCredential', {rpId: JSON.parse(options).rpId, credentialId});
  }
}

function prepare() {
  const form = findForm();
  if (!form) pending?.controller.abort();
  if (isSupported) signalPasskeys();
  if (!form) return;
  const creation = form.closest('[data-passkey-creation]');
  if (creation) creation.hidden = false;
  $('button', form).hidden = !isSupported;
  if (!isSupported) say(form, form.dataset.unsupported);
  if (!isSupported || form.dataset.options === usedOptions) return;
  usedOptions = form.dataset.options;
  optionsMadeAt = Date.now();
  offerInField();
}
prepare();
document.addEventListener('htmx:after:swap', prepare);
