/** Holds up whoever passes until it is opened. */
export class Gate {
  /** Resolves when somebody has arrived. */
  readonly arrived: Promise<void>;
  private readonly opened: Promise<void>;
  private arrive: (() => void) | undefined;
  private letGo: (() => void) | undefined;

  constructor() {
    this.arrived = new Promise((resolve) => {
      this.arrive = resolve;
    });
    this.opened = new Promise((resolve) => {
      this.letGo = resolve;
    });
  }

  pass(): Promise<void> {
    this.arrive?.();
    return this.opened;
  }

  open(): void {
    this.letGo?.();
  }
}
