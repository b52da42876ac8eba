"""The schema as text, read from the catalog, so that a reviewer sees what the migrations make.

Written from queries rather than by pg_dump: the server may come without its client programs, and
the text must be the same on every version of the server. Bodies of functions and views stand in
the migrations; here stand their shapes.
"""

from __future__ import annotations

from schema_database import Database

SCHEMAS = "('raw_data', 'analytics', 'staging', 'sse_stream')"
# Partitions of days come and go; the default partition is part of the schema.
IS_DAY = "(c.relispartition and c.relname ~ '_[0-9]{8}$')"
RELATIONS = f"""
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in {SCHEMAS} and c.relkind in ('r', 'p', 'v', 'm') and not {IS_DAY}
"""

SECTIONS = {
    "schemas": f"""
        select n.nspname || ' of ' || n.nspowner::regrole
            || coalesce('; ' || obj_description(n.oid, 'pg_namespace'), '')
        from pg_namespace n where n.nspname in {SCHEMAS}""",
    "relations": f"""
        select format('%s.%s: %s%s%s', n.nspname, c.relname,
            case c.relkind when 'r' then 'table' when 'p' then 'partitioned table'
                when 'v' then 'view' else 'materialized view' end,
            coalesce(' ' || pg_get_partkeydef(c.oid), ''),
            coalesce(' ' || pg_get_expr(c.relpartbound, c.oid), '')) {RELATIONS}""",
    "columns": f"""
        select format('%s.%s.%s. %s %s%s%s%s%s', n.nspname, c.relname,
            lpad(a.attnum::text, 2, '0'), a.attname, format_type(a.atttypid, a.atttypmod),
            case when co.collname is not null and co.collname <> 'default'
                then ' collate ' || co.collname else '' end,
            case when a.attnotnull then ' not null' else '' end,
            coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''),
            -- Since version 17 a partition repeats the identity of its table.
            case when a.attidentity <> '' and not c.relispartition then ' identity' else '' end)
        from (select c.oid, c.relname, c.relnamespace, c.relispartition {RELATIONS}) c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        left join pg_collation co on co.oid = a.attcollation""",
    # Since version 18 "not null" is a constraint of its own; it stands with the columns.
    "constraints": f"""
        select format('%s.%s.%s: %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid))
        from (select c.oid, c.relname, c.relnamespace {RELATIONS}) c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_constraint k on k.conrelid = c.oid and k.contype <> 'n'""",
    "indexes": f"""
        select pg_get_indexdef(i.indexrelid)
        from (select c.oid {RELATIONS}) c join pg_index i on i.indrelid = c.oid""",
    "triggers": f"""
        select pg_get_triggerdef(t.oid)
        from (select c.oid {RELATIONS}) c
        join pg_trigger t on t.tgrelid = c.oid and not t.tgisinternal""",
    "functions": f"""
        select format('%s.%s(%s) returns %s; %s, %s, security %s, set %s', n.nspname, p.proname,
            pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), l.lanname,
            case p.provolatile when 'i' then 'immutable' when 's' then 'stable'
                else 'volatile' end,
            case when p.prosecdef then 'definer' else 'invoker' end,
            coalesce(array_to_string(p.proconfig, '; '), 'nothing'))
        from pg_proc p
        join pg_namespace n on n.oid = p.pronamespace
        join pg_language l on l.oid = p.prolang
        where n.nspname in {SCHEMAS}""",
    # The owner's own rights are left out: each version of the server spells out more of them.
    "privileges": f"""
        with granted (object, acl, owner) as (
            select 'schema ' || n.nspname, n.nspacl, n.nspowner from pg_namespace n
            where n.nspname in {SCHEMAS}
            union all
            select n.nspname || '.' || c.relname, c.relacl, c.relowner {RELATIONS}
            union all
            select format('%s.%s(%s)', n.nspname, c.relname, a.attname), a.attacl, c.relowner
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            join pg_attribute a on a.attrelid = c.oid
            where n.nspname in {SCHEMAS}
            union all
            -- Without grants a function is everybody's.
            select format('%s.%s()', n.nspname, p.proname),
                coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in {SCHEMAS}
        )
        select format('%s to %s: %s', g.object,
            case when x.grantee = 0 then 'public' else x.grantee::regrole::text end,
            string_agg(lower(x.privilege_type), ', ' order by x.privilege_type))
        from granted g cross join lateral aclexplode(g.acl) x
        where x.grantee <> g.owner
        group by g.object, x.grantee""",
}


def dump_schema(database: Database) -> str:
    """The whole schema, the same text for the same schema."""
    text = "-- The restaurant schema as its migrations make it; written by test_schema.py.\n"
    for title, query in SECTIONS.items():
        rows = database.run(f'select line from ({query}) s (line) order by line collate "C"')
        lines = (" ".join(str(row[0]).split()) for row in rows)
        text += f"\n-- {title}\n" + "".join(f"{line}\n" for line in lines)
    return text
