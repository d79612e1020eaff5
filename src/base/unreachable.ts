/** Ends a switch over a tagged union: the compiler refuses a forgotten variant. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
