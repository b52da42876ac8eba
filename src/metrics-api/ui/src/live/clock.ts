/**
 * The server's time as this browser can know it. The browser's own clock may be wrong by hours;
 * how fast it goes is right. Messages arrive late, never early: the earliest of the last ones says
 * most about the difference.
 */
export class ServerClock {
  readonly #monotonic: () => number;
  #offsets: number[] = [];

  constructor(monotonic: () => number = () => performance.timeOrigin + performance.now()) {
    this.#monotonic = monotonic;
  }

  /** Learn from a message that says when it was sent. */
  observe(serverTime: string): void {
    const sent = Date.parse(serverTime);
    if (Number.isNaN(sent)) return;
    this.#offsets = [...this.#offsets.slice(-19), sent - this.#monotonic()];
  }

  /** Milliseconds since 1970 on the server's clock, on the browser's before the first message. */
  now(): number {
    const offset = this.#offsets.length > 0 ? Math.max(...this.#offsets) : 0;
    return this.#monotonic() + offset;
  }

  /** Forget what was learned: another server may speak now. */
  reset(): void {
    this.#offsets = [];
  }
}
