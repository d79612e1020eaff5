/**
 * How many connections may stand before the door: those that were accepted and are not links yet.
 * Anybody on the network can open them, so they are few, and fewer of one address.
 */
export const MAX_WAITING = 64;
export const MAX_WAITING_OF_ADDRESS = 32;

export class Gate {
  private readonly waitingOf = new Map<string, number>();
  private waiting = 0;

  /** @returns what to call, once or more, when it became a link or ended; undefined: it is too many */
  enter(address: string): (() => void) | undefined {
    const ofAddress = this.waitingOf.get(address) ?? 0;
    if (this.waiting >= MAX_WAITING || ofAddress >= MAX_WAITING_OF_ADDRESS) return undefined;
    this.waiting += 1;
    this.waitingOf.set(address, ofAddress + 1);
    let isInside = false;
    return () => {
      if (!isInside) this.leave(address);
      isInside = true;
    };
  }

  private leave(address: string): void {
    const ofAddress = (this.waitingOf.get(address) ?? 1) - 1;
    this.waiting -= 1;
    if (ofAddress > 0) this.waitingOf.set(address, ofAddress);
    else this.waitingOf.delete(address);
  }
}
