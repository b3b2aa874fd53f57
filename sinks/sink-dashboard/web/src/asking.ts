// One question to the sidecar. It has a limit: one that hangs would keep every later one waiting.

/** How long an answer may take, its body included. */
const PATIENCE_MS = 15_000;

/** The sidecar answered, but not with what was asked for. */
export class RefusedError extends Error {
  constructor(private readonly status: number) {
    super(`the sidecar answered ${status}`);
  }

  /** Whether the same question will be refused again, by a page that says why. */
  get isFinal(): boolean {
    return this.status >= 400 && this.status < 500 && this.status !== 429;
  }
}

/** The text of an answer. Throws what the network or the sidecar said, or that it took too long. */
export async function ask(address: string, accept: string, asked: AbortController): Promise<string> {
  const limit = setTimeout(() => asked.abort(), PATIENCE_MS);
  try {
    const response = await fetch(address, { signal: asked.signal, headers: { accept } });
    if (!response.ok) throw new RefusedError(response.status);
    return await response.text();
  } finally {
    clearTimeout(limit);
  }
}
