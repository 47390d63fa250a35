// Numbers as numel prints them everywhere: the same rules as in Python (render/text.py), which a test compares.

const SCALES = {
  count: [1000, ["", "K", "M", "B", "T"]],
  ops: [1000, ["", "K", "M", "G", "T", "P", "E"]],
  bytes: [1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]],
};
const NUMERIC = new Set(["count", "ops", "bytes", "share", "integer", "number"]);
const UNKNOWN = "?";

// Python rounds what lies just between to the even digit, JavaScript away from zero. `kept`: how many digits stay.
function evenly(value, kept, write) {
  if (kept < 1 || kept > 20) return write(value);
  const [mantissa, power] = Math.abs(value).toExponential(40).split("e");
  const digits = mantissa.replace(".", "");
  if (!/^50*$/.test(digits.slice(kept)) || Number(digits[kept - 1]) % 2) return write(value);
  return write(Math.sign(value) * Number(`${digits.slice(0, kept)}e${Number(power) - kept + 1}`));
}

function fixed(value, decimals) {
  if (value === 0) return value.toFixed(decimals);
  const power = Number(value.toExponential(20).split("e")[1]);
  return evenly(value, power + 1 + decimals, (x) => x.toFixed(decimals));
}

// as Python's format code "g"
function general(value, digits = 4) {
  if (value === 0) return "0";
  const text = evenly(value, digits, (x) => x.toExponential(digits - 1));
  const power = Number(text.split("e")[1]);
  if (power < -4 || power >= digits) {
    const [mantissa, sign] = [text.split("e")[0], power < 0 ? "-" : "+"];
    const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
    return `${short}e${sign}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  const plain = Number(text).toFixed(Math.max(0, digits - 1 - power));
  const short = plain.includes(".") ? plain.replace(/\.?0+$/, "") : plain;
  return short.includes(".") ? short : plain; // about one is 1.000, and not 1
}

function grouped(text) {
  const [whole, part] = text.split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return part === undefined ? spaced : `${spaced}.${part}`;
}

function scaled(value, base, suffixes) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  let power = 0;
  while (size >= base ** (power + 1) && power < suffixes.length - 1) power += 1;
  if (size >= base ** suffixes.length) return `${exponential(value)} ${suffixes[0]}`.trimEnd();
  if (power === 0 && Number.isInteger(value)) return `${value} ${suffixes[0]}`.trimEnd();
  let short = Number(general(size / base ** power));
  if (short >= base && power < suffixes.length - 1) {
    short /= base;
    power += 1;
  }
  const decimals = short < 10 ? 3 : short < 100 ? 2 : short < 1000 ? 1 : 0;
  return `${value < 0 ? "-" : ""}${fixed(short, decimals)} ${suffixes[power]}`.trimEnd();
}

function exponential(value) {
  const [mantissa, power] = value.toExponential(3).split("e");
  return `${mantissa}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}

function numberText(value, unit, short = false) {
  if (unit === "share") {
    if (value === 0) return "0 %";
    return value > 0 && value < 0.0005 ? "<0.1 %" : `${fixed(value * 100, 1)} %`;
  }
  if (SCALES[unit] && (unit !== "count" || short)) return scaled(value, ...SCALES[unit]);
  if (Math.abs(value) >= 1e21) return exponential(value);
  if (Number.isInteger(value)) return grouped(String(value));
  return Math.abs(value) >= 1000 ? grouped(fixed(value, 1)) : general(value);
}

// one cell; `sign` is ≥, ≈ or ≳, `digits` its exact digits where a double has not all of them
function cellText(value, unit, { short = false, sign = "", digits } = {}) {
  if (digits !== undefined && !(SCALES[unit] && (unit !== "count" || short) && value !== null)) {
    return `${sign} ${digits}`.trimStart();
  }
  if (value === null || value === undefined) return UNKNOWN;
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "✓" : "–";
  return `${sign} ${numberText(value, unit, short)}`.trimStart();
}
