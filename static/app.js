// What attributes cannot say. No sentence stands in here: all of them come from the page.
const $ = (css, root = document) => root.querySelector(css);
const $$ = (css, root = document) => [...root.querySelectorAll(css)];
const on = (type, act, options) => document.addEventListener(type, act, options);
const fill = (text, values) => text.replace(/{(\w+)}/g, (_, key) => values[key] ?? '');
const invalid = field => field.getAttribute('aria-invalid') === 'true';
const sentences = $('#toasts').dataset;

// Reward early, punish late: while typing, a field is checked once it can be right, or to take an error away.
on('input', ({target: field}) => {
  const met = field.dataset.rules ? rules(field) : true;
  if (field.matches('[data-live]') && (invalid(field) ? met : !field.dataset.rules && plausible(field)))
    field.dispatchEvent(new Event('live', {bubbles: true}));
});
const plausible = field => field.validity.valid && field.value.trim().length >= Math.max(1, field.minLength)
  && (field.type !== 'email' || /@[^@]+\.[^.@]{2,}$/.test(field.value.trim()));

// "Password must:", ticked at each key; told to a screen reader once, when the typing stops.
let announceTimer;
function rules(field, typed = true) {
  const list = document.getElementById(field.dataset.rules), box = list.parentElement, all = $$('[data-rx]', list);
  for (const rule of all) {
    rule.dataset.met = new RegExp(rule.dataset.rx, 'u').test(field.value);
    $('.vh', rule).textContent = rule.dataset.met === 'true' ? list.dataset.done : list.dataset.missing;
  }
  const score = {n: $$('[data-met=true]', list).length, m: all.length};
  $('.count', box).textContent = fill(box.dataset.count, score);
  if (typed) {
    clearTimeout(announceTimer);
    announceTimer = setTimeout(() => { $('[role=status]', box).textContent = fill(box.dataset.sum, score); }, 900);
  }
  return score.n === score.m;
}
const updateRules = () => $$('[data-rules]').forEach(field => field.value && rules(field, false));
updateRules();

// Every request names the user that the navigation bar names. A live check carries its own field and those it names,
// never the whole form.
on('htmx:config:request', ({detail: {ctx: {sourceElement: field, request}}}) => {
  const viewer = $('#nav')?.dataset.viewer;
  if (viewer) request.headers['Document-Viewer'] = viewer;
  if (!field.matches('[data-live]')) return;
  const keep = [field.name, ...field.dataset.live.split(' ')];
  for (const name of [...request.body.keys()]) if (!keep.includes(name)) request.body.delete(name);
});

// Submit wins over live checks; it shows that it is under way and lets nothing be disabled.
on('htmx:before:request', event => {
  const source = event.detail.ctx.sourceElement;
  if (source.matches('form[method=post]')) {
    // What an earlier submit said goes. The abort must not bubble: it would abort the submit.
    for (const other of $$('.summary, .toast')) if (!source.contains(other)) other.remove();
    for (const field of $$('[data-live]', source)) htmx.trigger(field, 'htmx:abort', {}, false);
    busy(source, true);
  } else if (source.form?.hasAttribute('aria-busy')) event.preventDefault();
});
on('htmx:finally:request', ({detail: {ctx}}) => {
  if (ctx.sourceElement.matches('form[method=post]') && !ctx.keepIndicators) busy(ctx.sourceElement, false);
});
function busy(form, yes) {
  const line = $('[data-pending]', form), values = Object.fromEntries(new FormData(form));
  const states = [[form, 'aria-busy'], [$('button:not([type=button])', form), 'aria-disabled']];
  for (const [node, name] of states) yes ? node?.setAttribute(name, 'true') : node?.removeAttribute(name);
  if (line) line.textContent = yes && values.email ? fill(line.dataset.pending, values) : '';
}

// The second click of a double click belongs to the first: by now another button may lie under the mouse.
on('click', event => {
  if (event.detail > 1 && event.target.closest('form[method=post] button:not([type])')) event.preventDefault();
}, true);

// Failures. A link shows the page it got; a field says so in its own line; a form keeps what was typed and says so in
// its error summary. What has no field to correct says so on top of the page.
const partial = ctx => /<hx-partial|hx-swap-oob/i.test(ctx.text ?? '');
function fail(ctx, text) {
  if (ctx.sourceElement.matches('[data-live]')) document.getElementById(ctx.sourceElement.id + '-message').textContent = sentences.unchecked;
  else report(ctx.sourceElement, text);
}
function report(source, text) {
  const place = source.isConnected && source.matches('form[method=post]:has(input:not([type=hidden]))') ? source : $('#main');
  const summary = $('#problem').content.firstElementChild.cloneNode(true);
  summary.id = 'error-summary';
  $('.summary')?.remove();
  $('p', summary).textContent = text;
  place.prepend(summary);
  summary.focus();
}
on('htmx:response:error', ({detail: {ctx}}) => {
  const {status, headers} = ctx.response;
  if (status === 401) keepProfile();
  if (status === 422 || ctx.hx.redirect || ctx.push || partial(ctx)) return;
  // Rounded up, as the server's words say it.
  const wait = Math.ceil(headers.get('Retry-After')) || 60;
  const [unit, seconds] = wait < 60 ? ['second', 1] : wait <= 3540 ? ['minute', 60] : ['hour', 3600];
  const format = new Intl.NumberFormat('en-GB', {style: 'unit', unit, unitDisplay: 'long'});
  const said = status === 409 && new DOMParser().parseFromString(ctx.text, 'text/html').querySelector('h1 + p')?.textContent;
  fail(ctx, fill(said || (sentences['e' + status] ?? (status < 500 ? sentences.e4 : sentences.e5)),
    {wait: format.format(Math.ceil(wait / seconds))}));
});
on('htmx:error', ({detail: {ctx, error}}) => {
  if (!ctx?.request) return;
  const isSlow = error === 'timeout' || ctx.request.signal.reason === 'timeout';
  fail(ctx, isSlow ? sentences.slow : navigator.onLine ? sentences.unreachable : sentences.offline);
});

// What was typed, kept in this tab for the next page that has the fields: never a password, and removed once used.
// The storage throws where cookies are blocked.
function keep(key, value) {
  try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* then it is not kept */ }
}
function take(key) {
  try {
    const value = JSON.parse(sessionStorage.getItem(key));
    sessionStorage.removeItem(key);
    return value ?? {};
  } catch { return {}; }
}
const fields = form => $$('input:not([type=password], [type=hidden], [hidden])', form);
const typed = form => Object.fromEntries(fields(form).filter(({value}) => value).map(({name, value}) => [name, value]));

// Sign-up and log-in carry the name and the email to each other, and find them again after Back.
const isReturn = performance.getEntriesByType('navigation')[0]?.type !== 'navigate' || /\/(login|signup)(\?|$)/.test(document.referrer);
const guestForm = () => $('#signup-form, #login-form'), kept = take('guest'), carried = isReturn ? kept : {};
if (guestForm()) for (const field of fields(guestForm())) field.value ||= carried[field.name] ?? '';
addEventListener('pagehide', () => {
  const form = guestForm();
  if (form && !form.hasAttribute('aria-busy')) keep('guest', {...carried, ...typed(form)});
});

// A profile that was sent after the session ended comes back typed in, for the same user alone.
const profileForm = () => $('#account-form');
function keepProfile() {
  const form = profileForm();
  if (form) keep('profile', {...typed(form), viewer: form.elements.viewer.value});
}
const profile = $('#nav') ? take('profile') : {};
if (profile.viewer && profileForm()?.elements.viewer.value === profile.viewer) {
  for (const field of fields(profileForm())) field.value = profile[field.name] ?? '';
  profileForm().prepend($('#restored').content.cloneNode(true));
}

// Toasts go after a while, but not while they are read. They never take the focus.
new MutationObserver(changes => changes.flatMap(change => [...change.addedNodes]).forEach(node => node.matches?.('.toast') && expireToast(node)))
  .observe($('#toasts'), {childList: true});
function expireToast(node) {
  for (const other of $$('.toast')) if (other !== node) other.remove();
  const toast = node.getBoundingClientRect();
  // The page scrolls until the form that the toast covers lies below it.
  for (const form of $$('main form:has(.field)')) {
    const {top, bottom, left, right} = form.getBoundingClientRect();
    const isCovered = top < toast.bottom && bottom > toast.top && left < toast.right && right > toast.left;
    if (isCovered) scrollBy(0, top - toast.bottom - 16);
  }
  let timer;
  const start = () => { clearTimeout(timer); timer = setTimeout(() => node.remove(), 6000 + 60 * node.textContent.length); };
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

// After a swap: the title, the focus, the marks in the navigation, and all that the server cannot know.
let shown = [], menu, rows = [];
on('htmx:before:swap', ({detail: {ctx}}) => {
  rows = devicesAfter(ctx.sourceElement.closest('[data-device]'));
  shown = $$('.pw input[type=text]').map(input => input.id);
  menu = document.activeElement.closest('.menu')?.id;
});
on('htmx:after:swap', ({detail: {ctx}}) => {
  for (const id of shown) if (document.getElementById(id)) mask(document.getElementById(id), true);
  if (partial(ctx) && ctx.title) document.title = ctx.title;
  updateRules();
  for (const link of $$('.summary a')) link.toggleAttribute('data-mended', !invalid($(link.hash)));
  const box = ctx.target?.closest('.menu .actions'), button = rows.map(id => $(`#${id} button`)).find(Boolean);
  if (box) box.scrollIntoView({block: 'nearest'});
  if (ctx.push && ctx.target?.id === 'main') focusNewPage();
  else if (button) button.focus();
  else if ($(`#${menu}:not([open]) summary`)) $(`#${menu} summary`).focus({preventScroll: true});
  else if (document.activeElement === document.body) ($('[data-land]') ?? $('h1')).focus({preventScroll: true});
});
// The rows after a device that is logged out, then those before it: the focus moves to the first one left.
function devicesAfter(row) {
  const all = row ? $$('[data-device]') : [], at = all.indexOf(row);
  return [...all.slice(at + 1), ...all.slice(0, Math.max(at, 0)).reverse()].filter(node => !node.hidden).map(node => node.id);
}
function focusNewPage() {
  for (const link of $$('#nav nav a')) {
    const here = link.pathname === location.pathname;
    here ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current');
  }
  history.scrollRestoration = 'auto';
  scrollTo(0, 0);
  $('main h1').focus({preventScroll: true});
}

// Back finds the place that was left. htmx reloads the page, for which the browser would restore where the reload began.
on('htmx:before:history:update', ({detail: {history: {type}}}) => {
  if (type !== 'push') return;
  history.replaceState({...history.state, top: scrollY}, '');
  history.scrollRestoration = 'manual';
});
if (history.scrollRestoration === 'manual') {
  scrollTo(0, history.state?.top ?? 0);
  // Not at once: the browser would still restore its own position after the load.
  addEventListener('load', () => setTimeout(() => { history.scrollRestoration = 'auto'; }, 500));
}

// A menu closes by Escape, by a click beside it, and with its answer; the focus goes back to its button.
function closeMenu(menu) {
  const inside = menu.contains(document.activeElement);
  menu.open = false;
  if (inside) $('summary', menu).focus({preventScroll: true});
}
on('click', ({target}) => $$('.menu[open]').forEach(menu => menu.contains(target) || closeMenu(menu)));
on('keydown', ({key}) => key === 'Escape' && $$('.menu[open]').forEach(closeMenu));
// It loads its actions when it opens; until then it holds a link to the page that has them. It never opens out of view.
on('toggle', ({target: menu}) => {
  if (!menu.matches('.menu[open]')) return;
  $('a[data-hx-trigger=opened]', menu)?.dispatchEvent(new Event('opened'));
  $('.actions', menu).scrollIntoView({block: 'nearest'});
}, true); // toggle does not bubble
// On that page there is no list for the answer: the form is sent as if there were no script, after the same question.
on('submit', event => {
  const {hxTarget, hxConfirm} = event.target.dataset;
  if (!hxTarget || $(hxTarget)) return;
  event.stopImmediatePropagation();
  if (hxConfirm && !confirm(hxConfirm)) event.preventDefault();
}, true);

// A click with Ctrl, Cmd, Shift or Alt is the browser's: htmx 4.0.1 would eat it.
on('click', event => {
  if ((event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) && event.target.closest('a[href]')) event.stopImmediatePropagation();
}, true);

// Of all the ways from page to page, only being let in is drawn: the key is carried over the threshold.
addEventListener('pageswap', ({viewTransition: move}) => {
  if (!move || $('.centered form[aria-busy]')) return;
  move.ready.catch(() => {});
  move.skipTransition();
});

// A page out of the back-forward cache may show a session that has ended.
addEventListener('pageshow', event => { if (event.persisted) location.reload(); });

// Show password: the caret stays, and what is sent is hidden again. Caps Lock.
function mask(input, show) {
  const {selectionStart: start, selectionEnd: end} = input;
  input.type = show ? 'text' : 'password';
  input.setSelectionRange(start, end);
  $(`[data-toggle="${input.id}"]`).setAttribute('aria-pressed', show);
}
on('mousedown', event => { if (event.target.closest('[data-toggle]')) event.preventDefault(); });
on('click', ({target}) => {
  const button = target.closest('[data-toggle]'), input = button && document.getElementById(button.dataset.toggle);
  if (input) mask(input, input.type === 'password');
});
on('submit', ({target}) => $$('.pw input[type=text]', target).forEach(input => mask(input, false)), true);
for (const type of ['keydown', 'keyup', 'focusout']) on(type, event => {
  const line = event.target.closest?.('.pw') && $('.caps', event.target.closest('.field'));
  if (line) line.textContent = event.getModifierState?.('CapsLock') ? line.dataset.caps : '';
});
// A change of the input's type swallows the event for a change of its value.
on('focusout', ({target: field}) => {
  if (field.matches('[data-rules]') && field.value) field.dispatchEvent(new Event('change', {bubbles: true}));
});
