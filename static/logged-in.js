// The behavior of pages with the navigation bar only: times in the user's time zone, navigation,
// confirmations, menus, and a filter for a long list of devices.
const $ = (css, root = document) => root.querySelector(css);
const $$ = css => [...document.querySelectorAll(css)];
const on = (type, handler, options) => document.addEventListener(type, handler, options);
const fill = (text, values) => text.replace(/{(\w+)}/g, (_, key) => values[key] ?? '');

// Times have the format of the server, but the user's time zone. They are relative to the server's
// clock, because the browser's clock may be wrong. The page contains the server's time (data-now).
let lastNow;
let clockOffset = 0; // The server's clock minus the browser's, in ms.
const relativeFormat = new Intl.RelativeTimeFormat('en-GB', {numeric: 'auto'});
const monthFormat = new Intl.DateTimeFormat('en-GB', {month: 'long'});
const timeFormat = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit', minute: '2-digit', hourCycle: 'h23',
});
const fullFormat = new Intl.DateTimeFormat('en-GB', {dateStyle: 'full', timeStyle: 'long'});
const midnight = date => new Date(date).setHours(0, 0, 0, 0);
function formatTime(date, style, now) {
  const days = Math.round((midnight(date) - midnight(now)) / 864e5);
  const minutes = Math.floor((now - date) / 6e4);
  const month = monthFormat.format(date);
  const year = date.getFullYear();
  const shortYear = year === now.getFullYear() ? '' : ` ${year}`;
  const short = `${date.getDate()} ${month.slice(0, 3)}${shortYear}`;
  if (style === 'date') return `${date.getDate()} ${month} ${year}`;
  if (style === 'day') return short;
  if (style === 'time') return timeFormat.format(date);
  if (style === 'when') {
    const time = timeFormat.format(date);
    return Math.abs(days) < 2
      ? `${relativeFormat.format(days, 'day')} at ${time}`
      : `${short}, ${time}`;
  }
  if (minutes < 60) return minutes < 1 ? '' : relativeFormat.format(-minutes, 'minute');
  if (minutes < 720 || !days) return relativeFormat.format(-Math.floor(minutes / 60), 'hour');
  return days === -1 ? relativeFormat.format(-1, 'day') : short;
}
function updateTimes() {
  const serverNow = $('[data-now]')?.dataset.now;
  if (serverNow && serverNow !== lastNow) {
    lastNow = serverNow;
    clockOffset = Date.parse(serverNow) - Date.now();
  }
  const now = new Date(Date.now() + clockOffset);
  for (const node of $$('time[data-time]')) {
    const date = new Date(node.dateTime);
    const text = formatTime(date, node.dataset.time, now);
    if (text && text !== node.textContent) node.textContent = text;
    node.title = fullFormat.format(date);
  }
  // The server has grouped the entries by the days of UTC.
  let lastDay;
  for (const node of $$('[data-day]')) {
    node.hidden = node.textContent === lastDay;
    lastDay = node.textContent;
  }
}
updateTimes();
setInterval(updateTimes, 6e4);

// The rows that do not contain every typed word are hidden.
function filterDevices() {
  const input = $('[data-filter]');
  if (!input) return;
  const all = $$('[data-device]');
  const words = input.value.toLowerCase().split(' ');
  for (const node of all) {
    const text = node.textContent.toLowerCase();
    node.hidden = !words.every(word => text.includes(word));
  }
  const found = all.filter(node => !node.hidden).length;
  const line = $('[data-found]');
  const none = $('[data-none]');
  line.textContent = input.value && fill(line.dataset.found, {n: found, m: all.length});
  none.hidden = found > 0;
  none.querySelector('bdi').textContent = input.value;
}
on('input', ({target}) => target.matches('[data-filter]') && filterDevices());
on('click', ({target}) => {
  if (!target.matches('[data-clear]')) return;
  const input = $('[data-filter]');
  input.value = '';
  filterDevices();
  input.focus();
});
filterDevices();

on('htmx:after:swap', () => {
  updateTimes();
  filterDevices();
});

// A clicked link is marked as current at once, and the main part is busy until the response to the
// newest click. If the page does not change, the earlier links are marked again.
let pending;
let unmark = () => {};
on('htmx:before:request', ({detail: {ctx}}) => {
  const link = ctx.sourceElement;
  if (!link.matches('a[data-hx-push-url]')) return;
  unmark();
  pending = ctx;
  $('#main').ariaBusy = true;
  const navigation = link.closest('nav:not(.pages)');
  const current = navigation && $('[aria-current]', navigation);
  if (navigation) markCurrent(link, current);
  unmark = () => navigation && markCurrent(current, link);
});
on('htmx:finally:request', ({detail: {ctx}}) => {
  if (ctx !== pending) return;
  $('#main').ariaBusy = null;
  if (ctx.status !== 'swapped') unmark();
  unmark = () => {};
});
function markCurrent(link, previous) {
  if (previous) previous.ariaCurrent = null;
  if (link) link.ariaCurrent = 'page';
}
let nextDevices = [];
let focusedMenu;
on('htmx:before:swap', ({detail: {ctx}}) => {
  nextDevices = devicesAfter(ctx.sourceElement.closest('[data-device]'));
  focusedMenu = document.activeElement.closest('.menu')?.id;
});
on('htmx:after:swap', ({detail: {ctx}}) => {
  ctx.target?.closest('.menu .actions')?.scrollIntoView({block: 'nearest'});
  const button = nextDevices.map(id => $(`#${id} button`)).find(Boolean);
  const summary = $(`#${focusedMenu}:not([open]) summary`);
  if (ctx.push && ctx.target?.id === 'main') focusNewPage();
  else if (button) button.focus();
  else summary?.focus({preventScroll: true});
});
// Returns the ids of the rows after a device, then of those before it, the nearest first. After the
// device is logged out, the focus moves to the first of these rows that still exists.
function devicesAfter(row) {
  if (!row) return [];
  const all = $$('[data-device]');
  const index = all.indexOf(row);
  const others = [...all.slice(index + 1), ...all.slice(0, Math.max(index, 0)).reverse()];
  return others.filter(node => !node.hidden).map(node => node.id);
}
function focusNewPage() {
  for (const link of $$('#nav nav a')) {
    const isCurrent = `${location.pathname}/`.startsWith(`${link.pathname}/`);
    link.ariaCurrent = isCurrent ? 'page' : null;
  }
  history.scrollRestoration = 'auto';
  scrollTo(0, 0);
  const section = document.getElementById(location.hash.slice(1));
  (section ?? $('main h1'))?.focus({preventScroll: true});
  section?.scrollIntoView();
}

// The scroll position is restored after Back. htmx then reloads the page, and the browser would
// restore the position at the start of the reload.
on('htmx:before:history:update', ({detail: {history: {type}}}) => {
  if (type !== 'push') return;
  history.replaceState({...history.state, top: scrollY}, '');
  history.scrollRestoration = 'manual';
});
if (history.scrollRestoration === 'manual') {
  scrollTo(0, history.state?.top ?? 0);
  // Without this delay, the browser would still restore its own position after the load event.
  addEventListener('load', () => setTimeout(() => { history.scrollRestoration = 'auto'; }, 500));
}

// A menu is closed by Escape, by a click outside it, and by the response to one of its actions. The
// focus then returns to its button.
function closeMenu(menu) {
  const hasFocus = menu.contains(document.activeElement);
  menu.open = false;
  if (hasFocus) $('summary', menu).focus({preventScroll: true});
}
on('click', ({target}) => {
  for (const menu of $$('.menu[open]')) if (!menu.contains(target)) closeMenu(menu);
});
on('keydown', ({key}) => {
  if (key === 'Escape') $$('.menu[open]').forEach(closeMenu);
});
// A menu loads its actions when it is opened. Before that, it contains a link to the page with the
// actions. The opened menu is scrolled into view.
on('toggle', ({target: menu}) => {
  if (!menu.matches('.menu[open]')) return;
  $('a[data-hx-trigger=opened]', menu)?.dispatchEvent(new Event('opened'));
  $('.actions', menu).scrollIntoView({block: 'nearest'});
}, true); // The toggle event does not bubble.

// An action is confirmed in a dialog, whose button has the text of the pressed button. The first
// sentence is the question. The focus then returns to the pressed button.
const dialog = $('#confirm');
let decide = () => {};
function ask(text, button, callback) {
  const [, question, details] = text.match(/^(.+?[?\u061f])\s*(.*)$/su) ?? [, text, ''];
  const label = button.cloneNode(true);
  label.querySelectorAll('.vh').forEach(node => node.remove());
  $('h2', dialog).textContent = question;
  $('p', dialog).textContent = details;
  const action = $('[value=yes]', dialog);
  action.textContent = label.textContent;
  action.className = button.matches('.danger') ? 'danger' : 'primary';
  dialog.returnValue = '';
  decide = () => {
    button.focus({preventScroll: true});
    callback(dialog.returnValue === 'yes');
  };
  dialog.showModal();
}
dialog.addEventListener('close', () => decide());
dialog.addEventListener('click', ({target}) => target === dialog && dialog.close());
// A menu behind the dialog stays open.
for (const type of ['click', 'keydown']) {
  dialog.addEventListener(type, event => event.stopPropagation());
}
on('htmx:confirm', event => {
  const {ctx, issueRequest, dropRequest} = event.detail;
  event.preventDefault();
  const button = ctx.request.submitter ?? $('button', ctx.sourceElement) ?? ctx.sourceElement;
  ask(ctx.confirm, button, isConfirmed => (isConfirmed ? issueRequest() : dropRequest()));
});
// The page with the actions has no list to swap, so its forms are sent without htmx, after the same
// confirmation.
let confirmedForm;
on('submit', event => {
  const {target: form, submitter} = event;
  const {hxTarget, hxConfirm} = form.dataset;
  if (!hxTarget || $(hxTarget)) return;
  event.stopImmediatePropagation();
  if (!hxConfirm || form === confirmedForm) return;
  event.preventDefault();
  ask(hxConfirm, submitter, isConfirmed => {
    if (!isConfirmed) return;
    confirmedForm = form;
    form.requestSubmit(submitter);
  });
}, true);
