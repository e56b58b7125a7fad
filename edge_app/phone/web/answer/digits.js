/** Numbers as Python writes them, so that a message has the same words on every device. */

/** f"{value:.{digits}g}": at most so many significant digits; a tie goes to the even one. */
export function withDigits(value, digits) {
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [mantissa, exponentText] = roundedHalfEven(value, digits);
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < digits) {
    return stripped(Number(`${mantissa}e${exponent}`).toFixed(digits - 1 - exponent));
  }
  return `${stripped(mantissa)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** repr(value) of a float. */
export function asPython(value) {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  const [digits, exponentText] = value.toExponential().split("e");
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) {
    return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  if (Object.is(value, -0)) return "-0.0";
  // The shortest digits, in place: toFixed would round again, and a tie away from zero.
  const plain = String(value);
  return plain.includes(".") ? plain : `${plain}.0`;
}

/** [mantissa, exponent] as text. JavaScript takes a tie away from zero. */
function roundedHalfEven(value, digits) {
  const exact = value.toExponential(60).split("e")[0].replace(/[-.]/g, "");
  const isTie = /^50*$/.test(exact.slice(digits)) && Number(exact[digits - 1]) % 2 === 0;
  if (!isTie) return value.toExponential(digits - 1).split("e");
  const [, exponent] = value.toExponential(60).split("e");
  const kept = exact.slice(0, digits);
  const mantissa = digits > 1 ? `${kept[0]}.${kept.slice(1)}` : kept;
  return [value < 0 ? `-${mantissa}` : mantissa, exponent];
}

function stripped(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
