// The behavior of pages with the navigation bar only: times in the user's time zone, navigation,
// confirmations, and a filter for a long list of devices.
const $ = (css, root = document) => root.querySelector(css);
const $$ = css => [...document.querySelectorAll(css)];
const on = (type, handler, options) => document.addEventListener(type, handler, options);
const fill = (text, values) => text.replace(/{(\w+)}/g, (_, key) => values[key] ?? '');

// Times have the format of the server, but the user's time zone. They are relative to the server's
// clock, because the browser's clock may be wrong. The page contains the server's time (data-now).
let lastNow;
let clockOffset = 0; // The server's clock minus the browser's, in ms.
const {locale, at, on: other} = document.documentElement.dataset;
const relativeFormat = new Intl.RelativeTimeFormat(locale, {numeric: 'auto'});
function dateFormat(options) {
  const format = new Intl.DateTimeFormat(locale, options);
  // The server writes "Sep", as American English does.
  return date => format.format(date).replace(/Sept(?=[ ,]|$)/, 'Sep');
}
const day = {day: 'numeric', month: 'short'};
const formatDay = dateFormat(day);
const formatDayAndYear = dateFormat({...day, year: 'numeric'});
const formatDate = dateFormat({dateStyle: 'long'});
const formatClock = dateFormat({hour: '2-digit', minute: '2-digit', hourCycle: 'h23'});
const formatFully = dateFormat({dateStyle: 'full', timeStyle: 'long', hourCycle: 'h23'});
const midnight = date => new Date(date).setHours(0, 0, 0, 0);
function formatTime(date, style, now) {
  const days = Math.round((midnight(date) - midnight(now)) / 864e5);
  const minutes = Math.floor((now - date) / 6e4);
  const short = date.getFullYear() === now.getFullYear() ? formatDay(date) : formatDayAndYear(date);
  if (style === 'date') return formatDate(date);
  if (style === 'day') return short;
  if (style === 'time') return formatClock(date);
  if (style === 'when') {
    const time = formatClock(date);
    return Math.abs(days) < 2
      ? fill(at, {day: relativeFormat.format(days, 'day'), time})
      : fill(other, {day: short, time});
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
    node.title = formatFully(date);
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
on('htmx:before:swap', ({detail: {ctx}}) => {
  nextDevices = devicesAfter(ctx.sourceElement.closest('[data-device]'));
});
on('htmx:after:swap', ({detail: {ctx}}) => {
  const button = nextDevices.map(id => $(`[data-device="${id}"] button`)).find(Boolean);
  if (ctx.push && ctx.target?.id === 'main') focusNewPage();
  else button?.focus();
});
// Returns the ids of the rows after a device, then of those before it, the nearest first. After the
// device is logged out, the focus moves to the first of these rows that still exists.
function devicesAfter(row) {
  if (!row) return [];
  const all = $$('[data-device]:not([hidden])');
  const index = all.indexOf(row);
  return [...all.slice(index + 1), ...all.slice(0, index).reverse()].map(node => node.dataset.device);
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

// An action is confirmed in a dialog, whose button has the text of the pressed button. The first
// sentence is the question: names are between U+2068 and U+2069, and may contain question marks.
// The focus then returns to the pressed button.
const dialog = $('#confirm');
on('htmx:confirm', event => {
  const {ctx, issueRequest, dropRequest} = event.detail;
  const button = ctx.request.submitter ?? $('button', ctx.sourceElement) ?? ctx.sourceElement;
  const action = $('[value]', dialog);
  const [, question, details]
    = ctx.confirm.match(/^((?:\u2068.*?\u2069|.)+?[?\u061f])\s*(.*)$/s) ?? [, ctx.confirm];
  event.preventDefault();
  $('h2', dialog).textContent = question;
  $('p', dialog).textContent = details;
  action.replaceChildren(...button.cloneNode(true).childNodes);
  action.className = button.matches('.danger') ? 'danger' : 'primary';
  dialog.returnValue = '';
  dialog.onclose = () => {
    button.focus({preventScroll: true});
    if (dialog.returnValue) issueRequest();
    else dropRequest();
  };
  dialog.showModal();
});
dialog.onclick = ({target}) => { if (target === dialog) dialog.close(); };

// A form whose target is not on the page is sent without htmx: the one of a toast after a click on a
// link.
on('submit', event => {
  const {hxTarget} = event.target.dataset;
  if (hxTarget && !$(hxTarget)) event.stopImmediatePropagation();
}, true);
