// What only pages with the navigation bar need: times in the reader's zone, and a filter for a long list of devices.
const $ = css => document.querySelector(css);
const $$ = css => [...document.querySelectorAll(css)];
const on = (type, act) => document.addEventListener(type, act);
const fill = (text, values) => text.replace(/{(\w+)}/g, (_, key) => values[key] ?? '');

// Times, in the reader's own zone and in the server's manner, by the server's clock: the page says its time (data-now).
let lastNow, ahead = 0; // ms by which the server's clock is ahead of this one
const near = new Intl.RelativeTimeFormat('en-GB', {numeric: 'auto'});
const months = new Intl.DateTimeFormat('en-GB', {month: 'long'});
const clock = new Intl.DateTimeFormat('en-GB', {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'});
const full = new Intl.DateTimeFormat('en-GB', {dateStyle: 'full', timeStyle: 'long'});
const midnight = date => new Date(date).setHours(0, 0, 0, 0);
function formatTime(date, style, now) {
  const days = Math.round((midnight(date) - midnight(now)) / 864e5), minutes = Math.floor((now - date) / 6e4);
  const month = months.format(date), year = date.getFullYear();
  const short = `${date.getDate()} ${month.slice(0, 3)}${year === now.getFullYear() ? '' : ' ' + year}`;
  if (style === 'date') return `${date.getDate()} ${month} ${year}`;
  if (style === 'day') return short;
  if (style === 'when') return Math.abs(days) < 2 ? `${near.format(days, 'day')} at ${clock.format(date)}` : `${short}, ${clock.format(date)}`;
  if (minutes < 60) return minutes < 1 ? '' : near.format(-minutes, 'minute');
  return minutes < 720 || !days ? near.format(-Math.floor(minutes / 60), 'hour') : days === -1 ? near.format(-1, 'day') : short;
}
function updateTimes() {
  const said = $('[data-now]')?.dataset.now;
  if (said && said !== lastNow) ahead = Date.parse(lastNow = said) - Date.now();
  const now = new Date(Date.now() + ahead);
  for (const node of $$('time[data-time]')) {
    const date = new Date(node.dateTime), text = formatTime(date, node.dataset.time, now);
    if (text && text !== node.textContent) node.textContent = text;
    node.title = full.format(date);
  }
}
updateTimes();
setInterval(updateTimes, 6e4);

// A long list of devices can be searched.
function filterDevices() {
  const input = $('[data-filter]'), line = $('[data-found]'), all = $$('[data-device]');
  if (!input) return;
  const words = input.value.toLowerCase().split(' ');
  for (const node of all) node.hidden = !words.every(word => node.textContent.toLowerCase().includes(word));
  const found = all.filter(node => !node.hidden).length, none = $('[data-none]');
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

on('htmx:after:swap', () => { updateTimes(); filterDevices(); });
