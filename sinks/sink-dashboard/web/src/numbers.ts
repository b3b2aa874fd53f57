// Numbers for the axes and the read-out of graphs, and for counts that tick. Everything else is written by the server.

const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z"];

/** A hashrate with three significant digits, from H/s to ZH/s. */
export function hashrate(rate: number): string {
  if (!(rate > 0)) return "0 H/s";
  const power = Math.min(Math.max(Math.floor(Math.log10(rate * 1.0000001) / 3), 0), PREFIXES.length - 1);
  const shown = rate / 1000 ** power;
  const decimals = shown >= 100 ? 0 : shown >= 10 ? 1 : 2;
  return `${shown.toFixed(decimals)} ${PREFIXES[power]}H/s`;
}

export function count(number: number): string {
  return number.toLocaleString("en-US");
}

/** How many of something, as the server writes it. */
export function plural(number: number, word: string): string {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** A part in per cent, as the server writes it. */
export function perCent(part: number, whole: number): string {
  const value = (part / whole) * 100;
  if (part > 0 && value < 0.01) return "under 0.01 %";
  return `${value.toFixed(value < 10 ? 2 : 1)} %`;
}

/** A length of time with at most two units: `12 s`, `3 m 10 s`, `4 d 6 h`. */
export function length(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (major: number, unit: string, minor: number, small: string) =>
    minor === 0 ? `${major} ${unit}` : `${major} ${unit} ${minor} ${small}`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return two(Math.floor(seconds / 60), "m", seconds % 60, "s");
  if (seconds < 86400) return two(Math.floor(seconds / 3600), "h", Math.floor((seconds % 3600) / 60), "m");
  return two(Math.floor(seconds / 86400), "d", Math.floor((seconds % 86400) / 3600), "h");
}
