-- The pieces of streamed completions, in the order in which they came, and the whole texts.
create schema llm;

create table llm.chunks (
    -- Grows with every piece, over all answers of the stream.
    chunk_number bigint not null,
    -- Null for an error inside the answer.
    completion_id text,
    model text,
    role text,
    content text,
    finish_reason text,
    error jsonb,
    payload jsonb not null,
    received_at timestamptz not null
);
create index chunks_completion_idx on llm.chunks (completion_id, chunk_number);

create view llm.completions as
select
    completion_id,
    max(model) as model,
    string_agg(content, '' order by chunk_number) as content,
    max(finish_reason) as finish_reason,
    min(received_at) as began_at,
    max(received_at) as ended_at,
    count(*) as chunks
from llm.chunks
where completion_id is not null
group by completion_id;
