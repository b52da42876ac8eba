import { createContext, useContext, useEffect, useReducer, useState, useSyncExternalStore } from "react";
import type { Message } from "../model/messages.ts";
import { NOTHING, type Refusal, type State, change, reduce } from "../model/state.ts";
import { ServerClock } from "./clock.ts";
import { listen } from "./listen.ts";

const TICK_MS = 250;

type Action = { message: Message; now: number } | { refusal: Refusal } | "change";

function step(state: State, action: Action): State {
  if (action === "change") return change(state);
  if ("refusal" in action) return { ...state, refusal: action.refusal };
  return reduce(state, action.message, action.now);
}

export interface Live {
  state: State;
  clock: ServerClock;
}

/** Listen with these filters (as the address has them); `attempt` counts the viewer's own retries. */
export function useLive(query: string, attempt: number): Live {
  const [clock] = useState(() => new ServerClock());
  const [state, dispatch] = useReducer(step, NOTHING);
  useEffect(() => {
    dispatch("change");
    return listen(query, {
      onMessage(message) {
        if ("server_time" in message.data) clock.observe(message.data.server_time);
        dispatch({ message, now: clock.now() });
      },
      onRefused({ status, message }) {
        dispatch({ refusal: { status, message } });
      },
    });
  }, [query, attempt, clock]);
  return { state, clock };
}

const LiveContext = createContext<Live | null>(null);
export const LiveProvider = LiveContext.Provider;

/** What the page was told, for the panel that asks. */
export function useShown(): Live {
  const live = useContext(LiveContext);
  if (live === null) throw new Error("no LiveProvider above this component");
  return live;
}

/** The server's time, read four times a second: ages grow without a message. */
export function useNow(): number {
  const { clock } = useShown();
  useSyncExternalStore(subscribeToTicks, () => Math.floor(performance.now() / TICK_MS));
  return clock.now();
}

function subscribeToTicks(onTick: () => void): () => void {
  const timer = setInterval(onTick, TICK_MS);
  return () => clearInterval(timer);
}
