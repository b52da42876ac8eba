-- Counts sales anew from the facts, of the time that rollups.sql looks at; writers wait meanwhile.
select object_name, removed || ' rows before, ' || made || ' now'
from analytics.rebuild_rollups(now() - interval '399 days');
