-- The data-only reset: raw events go, facts stay; the offset then goes back to the beginning.
truncate raw_data.events_raw;
