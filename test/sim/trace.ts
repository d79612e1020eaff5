/** A running hash of all that happens in a run: two runs of one seed must end with the same. */
export class Trace {
  value = 0x811c9dc5;
  private readonly numbers = new Map<string, number>();

  add(at: number, node: number, what: string): void {
    let h = Math.imul(this.value ^ Math.floor(at * 1000), 0x01000193);
    h = Math.imul(h ^ node, 0x01000193);
    this.value = Math.imul(h ^ this.numberOf(what), 0x01000193) >>> 0;
  }

  private numberOf(what: string): number {
    let number = this.numbers.get(what);
    if (number === undefined) {
      number = 0;
      for (let i = 0; i < what.length; i++)
        number = (Math.imul(number, 31) + what.charCodeAt(i)) | 0;
      this.numbers.set(what, number);
    }
    return number;
  }
}
