// SiLU and the kernel's rounding, as geometry needs them.

const ARGMIN = -1.2784645427610738; // where SiLU is least

export const silu = (v) => v / (1 + Math.exp(-Math.min(Math.max(v, -700), 700)));

// The v to the right of SiLU's minimum that gives y; null below it. By bisection.
export function preimage(y) {
  if (y < silu(ARGMIN)) return null;
  let low = ARGMIN, high = Math.max(1, y + 1);
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (silu(middle) < y) low = middle;
    else high = middle;
  }
  return high;
}

// Numbers of the browser are float64; the kernel divides and rounds in float32.
export function code(y, scale, zero) {
  const quotient = Math.fround(Math.fround(y) / Math.fround(scale));
  const whole = Math.sign(quotient) * Math.floor(Math.abs(quotient) + 0.5);
  return Math.min(Math.max(whole + zero, -128), 127);
}
