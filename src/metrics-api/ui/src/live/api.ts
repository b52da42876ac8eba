const TOKEN = "token";
/** What a header can carry, spaces left out. */
const TOKEN_SIGNS = /^[!-~]+$/;

/** The bearer token that the viewer gave in this tab, where the server asks for one. */
export function readToken(): string | null {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}

export function keepToken(token: string): void {
  try {
    sessionStorage.setItem(TOKEN, token);
  } catch {
    // Storage is forbidden: the server will ask again.
  }
}

/** Why the server did not answer as asked. */
export class RefusedError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Ask for `path` beside the page; throw RefusedError for an answer that is none. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const token = readToken();
  if (token !== null) {
    if (!TOKEN_SIGNS.test(token)) throw new RefusedError(401, "it has signs that no token has");
    headers.set("authorization", `Bearer ${token}`);
  }
  const response = await fetch(new URL(path, document.baseURI), {
    ...init,
    headers,
    cache: "no-store",
    credentials: "same-origin",
  });
  if (!response.ok) throw new RefusedError(response.status, await reasonOf(response));
  return response;
}

export async function requestJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal ? { signal } : {});
  return (await response.json()) as T;
}

async function reasonOf(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error?: { message?: string } };
    return body.error?.message ?? response.statusText;
  } catch {
    return response.statusText;
  }
}
