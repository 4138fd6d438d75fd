// The behavior that htmx attributes cannot express. All displayed sentences come from the page.
const $ = (css, root = document) => root.querySelector(css);
const $$ = (css, root = document) => [...root.querySelectorAll(css)];
const on = (type, handler, options) => document.addEventListener(type, handler, options);
const fill = (text, values) => text.replace(/{(\w+)}/g, (_, key) => values[key] ?? '');
const invalid = field => field.getAttribute('aria-invalid') === 'true';
const sentences = $('#toasts').dataset;

// While the user types, a field is checked only if it may be valid, or to remove its error.
// Incomplete text is checked when the field loses the focus.
on('input', ({target: field}) => {
  const met = field.dataset.rules ? checkRules(field) : true;
  if (!field.matches('[data-live]')) return;
  const isCheckable = invalid(field) ? met : !field.dataset.rules && plausible(field);
  if (isCheckable) field.dispatchEvent(new Event('live', {bubbles: true}));
});
function plausible(field) {
  const value = field.value.trim();
  return field.validity.valid
    && value.length >= Math.max(1, field.minLength)
    && (field.type !== 'email' || /@[^@]+\.[^.@]{2,}$/.test(value));
}

// The list "Password must:" is updated at each input. Screen readers announce the result only after
// 900 ms without input.
let announceTimer;
function checkRules(field, isTyping = true) {
  const list = document.getElementById(field.dataset.rules);
  const container = list.parentElement;
  const all = $$('[data-rx]', list);
  for (const rule of all) {
    const isMet = new RegExp(rule.dataset.rx, 'u').test(field.value);
    rule.dataset.met = isMet;
    $('.vh', rule).textContent = isMet ? list.dataset.done : list.dataset.missing;
  }
  const counts = {n: $$('[data-met=true]', list).length, m: all.length};
  $('.count', container).textContent = fill(container.dataset.count, counts);
  if (isTyping) {
    clearTimeout(announceTimer);
    announceTimer = setTimeout(() => {
      $('[role=status]', container).textContent = fill(container.dataset.sum, counts);
    }, 900);
  }
  return counts.n === counts.m;
}
function updateRules() {
  for (const field of $$('[data-rules]')) if (field.value) checkRules(field, false);
}
updateRules();

// Every request contains the id of the user for whom the page was rendered, because another user
// may have logged in since. A live check sends its own field and those in data-live, not the whole
// form.
on('htmx:config:request', ({detail: {ctx: {sourceElement: field, request}}}) => {
  const viewer = $('#nav')?.dataset.viewer;
  if (viewer) request.headers['Document-Viewer'] = viewer;
  if (!field.matches('[data-live]')) return;
  const sentNames = [field.name, ...field.dataset.live.split(' ')];
  for (const name of [...request.body.keys()]) {
    if (!sentNames.includes(name)) request.body.delete(name);
  }
});

// A submit aborts live checks and prevents new ones. The form is marked as busy, but not disabled:
// the style sheet displays a spinner in its button, and a moving bar at the top of the page.
on('htmx:before:request', event => {
  const {sourceElement: source, request} = event.detail.ctx;
  if (source.matches('form[method=post]')) {
    // Messages about an earlier submit are removed.
    for (const other of $$('.summary, .toast')) {
      if (!source.contains(other) && !other.contains(source)) other.remove();
    }
    // This event must not bubble, because it would also abort the submit.
    for (const field of $$('[data-live]', source)) htmx.trigger(field, 'htmx:abort', {}, false);
    setBusy(source, true, request.submitter);
  } else if (source.form?.hasAttribute('aria-busy')) event.preventDefault();
});
on('htmx:finally:request', ({detail: {ctx}}) => {
  const source = ctx.sourceElement;
  if (source.matches('form[method=post]') && !ctx.keepIndicators) setBusy(source, false, ctx.request.submitter);
});
function setBusy(form, isBusy, submitter) {
  const line = $('[data-pending]', form);
  const values = Object.fromEntries(new FormData(form));
  const button = submitter ?? $('button:not([type=button])', form);
  form.ariaBusy = isBusy || null;
  if (button) button.ariaDisabled = isBusy || null;
  if (line) line.textContent = isBusy && values.email ? fill(line.dataset.pending, values) : '';
}

// The second click of a double click is ignored, because another button may be under the pointer.
on('click', event => {
  const button = event.target.closest('form[method=post] button:not([type])');
  if (event.detail > 1 && button) event.preventDefault();
}, true);

// A failed live check displays its error in the line of its field. A form keeps the typed values
// and displays the error in its summary. Other elements display a summary at the top of the page.
const hasPartial = ctx => /<hx-partial|hx-swap-oob/i.test(ctx.text ?? '');
function showError(ctx, text) {
  const source = ctx.sourceElement;
  if (source.matches('[data-live]')) {
    document.getElementById(source.id + '-message').textContent = sentences.unchecked;
  } else showSummary(source, text);
}
function showSummary(source, text) {
  const isForm = source.matches('form[method=post]:has(input:not([type=hidden]))');
  const parent = source.isConnected && isForm ? source : $('#main');
  const summary = $('#problem').content.firstElementChild.cloneNode(true);
  summary.id = 'error-summary';
  $('.summary')?.remove();
  $('p', summary).textContent = text;
  parent.prepend(summary);
  summary.focus();
}
on('htmx:response:error', ({detail: {ctx}}) => {
  const {status, headers} = ctx.response;
  if (status === 401) storeProfile();
  // These responses display an error themselves, or redirect.
  if (status === 422 || ctx.hx.redirect || ctx.push || hasPartial(ctx)) return;
  const message = (status === 409 && errorOfPage(ctx.text))
    || (sentences['e' + status] ?? (status < 500 ? sentences.e4 : sentences.e5));
  const wait = Math.ceil(headers.get('Retry-After'));
  showError(ctx, fill(message, {wait: formatWait(wait || 60)}));
  countDown(wait);
});
// Messages about a rate limit, also those of the server, contain the time until the next attempt.
// It counts down without an announcement. Its end is announced.
on('htmx:after:swap', ({detail: {ctx: {response}}}) => {
  countDown(Math.ceil(response?.headers.get('Retry-After')));
});
function countDown(wait) {
  const end = Date.now() + wait * 1000;
  const line = wait && $$('.summary p, .toast p, h1 ~ p').find(node => splitAtWait(node, wait));
  if (!line) return;
  const time = $('[role=timer]', line);
  line.ariaLive = 'polite';
  const timer = setInterval(() => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) time.textContent = formatWait(left);
    else line.textContent = sentences.again;
    if (left <= 0 || !line.contains(time)) clearInterval(timer);
  }, 1000);
}
function splitAtWait(node, wait) {
  const text = formatWait(wait);
  const [before, after] = node.textContent.split(text);
  if (after === undefined || node.firstElementChild) return false;
  const time = document.createElement('span');
  time.role = 'timer';
  time.textContent = text;
  node.replaceChildren(before, time, after);
  return true;
}
// The time is rounded up, as in the messages of the server.
function formatWait(wait) {
  let [unit, seconds] = ['hour', 3600];
  if (wait < 60) [unit, seconds] = ['second', 1];
  else if (wait <= 3540) [unit, seconds] = ['minute', 60];
  const {locale} = document.documentElement.dataset;
  const format = new Intl.NumberFormat(locale, {style: 'unit', unit, unitDisplay: 'long'});
  return format.format(Math.ceil(wait / seconds));
}
function errorOfPage(html) {
  const page = new DOMParser().parseFromString(html, 'text/html');
  return $('h1 + p', page)?.textContent;
}
on('htmx:error', ({detail: {ctx, error}}) => {
  if (!ctx?.request) return;
  const isSlow = error === 'timeout' || ctx.request.signal.reason === 'timeout';
  if (isSlow) showError(ctx, sentences.slow);
  else showError(ctx, navigator.onLine ? sentences.unreachable : sentences.offline);
});

// Typed values are stored in this tab for the next page with the same fields, and are removed when
// they are read. Passwords are never stored. sessionStorage throws an exception if cookies are
// blocked.
function storeValues(key, values) {
  try {
    sessionStorage.setItem(key, JSON.stringify(values));
  } catch { /* The values are not stored. */ }
}
function popValues(key) {
  try {
    const values = JSON.parse(sessionStorage.getItem(key));
    sessionStorage.removeItem(key);
    return values ?? {};
  } catch {
    return {};
  }
}
const textFields = form => $$('input:not([type=password], [type=hidden], [hidden])', form);
function readValues(form) {
  const filled = textFields(form).filter(field => field.value);
  return Object.fromEntries(filled.map(({name, value}) => [name, value]));
}

// The landing page, sign-up, log-in and /forgot share the typed name and email, and restore them
// after Back.
const isReturn = performance.getEntriesByType('navigation')[0]?.type !== 'navigate'
  || /^[^:]*\/(login|signup|forgot|)(\?|$)/.test(document.referrer.replace(location.origin, ''));
const anonymousForm = () => $('#signup-form, #login-form, #forgot-form');
const storedValues = popValues('anonymous');
const restoredValues = isReturn ? storedValues : {};
if (anonymousForm()) {
  for (const field of textFields(anonymousForm())) field.value ||= restoredValues[field.name] ?? '';
}
addEventListener('pagehide', () => {
  const form = anonymousForm();
  if (!form || form.hasAttribute('aria-busy')) return;
  storeValues('anonymous', {...restoredValues, ...readValues(form)});
});

// A profile that was sent after its session had ended is restored after a log-in of the same user.
const profileForm = () => $('#account-form');
function storeProfile() {
  const form = profileForm();
  if (form) storeValues('profile', {...readValues(form), viewer: form.elements.viewer.value});
}
const profile = $('#nav') ? popValues('profile') : {};
if (profile.viewer && profileForm()?.elements.viewer.value === profile.viewer) {
  for (const field of textFields(profileForm())) field.value = profile[field.name] ?? '';
  profileForm().prepend($('#restored').content.cloneNode(true));
}

// A toast is removed after a time that depends on its length, but not while it contains the pointer
// or the focus. It never receives the focus by itself.
new MutationObserver(changes => {
  const added = changes.flatMap(change => [...change.addedNodes]);
  for (const node of added) if (node.matches?.('.toast')) expireToast(node);
}).observe($('#toasts'), {childList: true});
function expireToast(node) {
  for (const other of $$('.toast')) if (other !== node) other.remove();
  const toast = node.getBoundingClientRect();
  // The page is scrolled until a form that the toast covers is below the toast.
  for (const form of $$('main form:has(.field)')) {
    const {top, bottom, left, right} = form.getBoundingClientRect();
    const overlapsVertically = top < toast.bottom && bottom > toast.top;
    const overlapsHorizontally = left < toast.right && right > toast.left;
    if (overlapsVertically && overlapsHorizontally) scrollBy(0, top - toast.bottom - 16);
  }
  let timer;
  const start = () => {
    clearTimeout(timer);
    timer = setTimeout(() => node.remove(), 6000 + 60 * node.textContent.length);
  };
  const stop = () => clearTimeout(timer);
  for (const type of ['mouseenter', 'focusin']) node.addEventListener(type, stop);
  for (const type of ['mouseleave', 'focusout']) node.addEventListener(type, start);
  start();
}
on('click', ({target}) => {
  const button = target.closest('[data-dismiss]');
  if (!button) return;
  if (button === document.activeElement) $('#main').focus({preventScroll: true});
  button.closest('.toast').remove();
});

// After a swap, the title and the focus are updated. State that the server does not have is
// restored, such as visible passwords.
let visiblePasswords = [];
let section;
on('htmx:before:swap', ({detail: {ctx}}) => {
  visiblePasswords = $$('.pw input[type=text]').map(input => input.id);
  section = ctx.target?.closest('section');
});
on('htmx:after:swap', ({detail: {ctx}}) => {
  for (const id of visiblePasswords) {
    const input = document.getElementById(id);
    if (input) showPassword(input, true);
  }
  if (hasPartial(ctx) && ctx.title) document.title = ctx.title;
  updateRules();
  for (const link of $$('.summary a')) {
    link.toggleAttribute('data-corrected', !invalid($(link.hash)));
  }
  if (document.activeElement === document.body) {
    const landing = (section && $('[data-land]', section)) || $('[data-land]') || $('h1');
    landing.focus({preventScroll: true});
  }
});
// htmx 4.0.1 would prevent the browser's action for clicks with Ctrl, Cmd, Shift or Alt.
on('click', event => {
  const hasModifier = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
  if (hasModifier && event.target.closest('a[href]')) event.stopImmediatePropagation();
}, true);

// Only the page change after a log-in or sign-up is animated.
addEventListener('pageswap', ({viewTransition: transition}) => {
  if (!transition || $('body:not(.app) form[aria-busy]')) return;
  transition.ready.catch(() => {});
  transition.skipTransition();
});

// A page from the back-forward cache may display data of a session that has ended.
addEventListener('pageshow', event => { if (event.persisted) location.reload(); });

// A password can be made visible. The caret keeps its position, and a submit hides the password.
// A line beside the label warns if Caps Lock is on.
function showPassword(input, isVisible) {
  const {selectionStart: start, selectionEnd: end} = input;
  input.type = isVisible ? 'text' : 'password';
  input.setSelectionRange(start, end);
  $(`[data-toggle="${input.id}"]`).setAttribute('aria-pressed', isVisible);
}
on('mousedown', event => { if (event.target.closest('[data-toggle]')) event.preventDefault(); });
on('click', ({target}) => {
  const button = target.closest('[data-toggle]');
  const input = button && document.getElementById(button.dataset.toggle);
  if (input) showPassword(input, input.type === 'password');
});
on('submit', ({target}) => {
  for (const input of $$('.pw input[type=text]', target)) showPassword(input, false);
}, true);
function showCapsLock(event) {
  const line = event.target.closest?.('.pw') && $('.caps', event.target.closest('.field'));
  if (line) line.textContent = event.getModifierState?.('CapsLock') ? line.dataset.caps : '';
}
for (const type of ['keydown', 'keyup', 'focusout']) on(type, showCapsLock);
// Browsers omit the change event of an input's value if the input's type has changed.
on('focusout', ({target: field}) => {
  if (!field.matches('[data-rules]') || !field.value) return;
  field.dispatchEvent(new Event('change', {bubbles: true}));
});
