-- Operations of the Stellar network, payments above all: amounts are exact, seven decimals.
create schema horizon;

create table horizon.operations (
    operation_id text not null,
    paging_token bigint not null,
    -- payment, create_account, path_payment_strict_send, ...
    operation_type text not null,
    created_at timestamptz not null,
    transaction_hash text not null,
    is_successful boolean,
    source_account text,
    sender text,
    receiver text,
    asset_type text,
    asset_code text,
    asset_issuer text,
    amount numeric(26, 7),
    payload jsonb not null,
    ingested_at timestamptz not null default now(),
    constraint operations_pkey primary key (operation_id)
);
create index operations_created_at_idx on horizon.operations (created_at);
create index operations_receiver_idx on horizon.operations (receiver, created_at);
