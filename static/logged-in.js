// The behavior of pages with the navigation bar only: times in the user's time zone, and a filter
// for a long list of devices.
const $ = css => document.querySelector(css);
const $$ = css => [...document.querySelectorAll(css)];
const on = (type, handler) => document.addEventListener(type, handler);
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
