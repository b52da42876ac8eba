-- How many rows of each view over the counted sales are not what the facts say. Of the time that
-- retention leaves alone: it keeps 400 days where nobody asked for another number.
select object_name, differing from analytics.check_rollups(now() - interval '399 days');
