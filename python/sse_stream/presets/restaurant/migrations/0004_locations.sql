-- The sites, so that views know the local day of an order and a map knows where it was made.
-- They are reference data of the feed, kept here because events carry only the code.

create table analytics.locations (
    location_code text not null,
    name text not null,
    city text not null,
    latitude numeric(8, 5) not null,
    longitude numeric(8, 5) not null,
    time_zone text not null,
    constraint locations_pkey primary key (location_code),
    constraint locations_latitude_check check (latitude between -90 and 90),
    constraint locations_longitude_check check (longitude between -180 and 180)
);
comment on table analytics.locations is 'the sites; time_zone is an IANA name';

insert into analytics.locations (location_code, name, city, latitude, longitude, time_zone) values
    ('LOC-ON-001', 'Queen West', 'Toronto', 43.6476, -79.4006, 'America/Toronto'),
    ('LOC-ON-002', 'Yonge and Eglinton', 'Toronto', 43.7064, -79.3986, 'America/Toronto'),
    ('LOC-ON-003', 'Square One', 'Mississauga', 43.5931, -79.6424, 'America/Toronto'),
    ('LOC-ON-004', 'Gage Park', 'Brampton', 43.6834, -79.7624, 'America/Toronto'),
    ('LOC-ON-005', 'James Street North', 'Hamilton', 43.2609, -79.8668, 'America/Toronto'),
    ('LOC-ON-006', 'Uptown', 'Waterloo', 43.4643, -80.5204, 'America/Toronto'),
    ('LOC-ON-007', 'Richmond Row', 'London', 42.9912, -81.2518, 'America/Toronto'),
    ('LOC-ON-008', 'Riverside', 'Windsor', 42.3192, -83.0389, 'America/Toronto'),
    ('LOC-ON-009', 'ByWard Market', 'Ottawa', 45.4292, -75.6912, 'America/Toronto'),
    ('LOC-ON-010', 'Princess Street', 'Kingston', 44.2325, -76.4866, 'America/Toronto'),
    ('LOC-ON-011', 'Elgin Street', 'Sudbury', 46.4901, -80.9926, 'America/Toronto'),
    ('LOC-ON-012', 'Harbourfront', 'Kenora', 49.7667, -94.4892, 'America/Winnipeg');
