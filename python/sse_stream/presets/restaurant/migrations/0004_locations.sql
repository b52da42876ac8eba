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
    ('LOC-ON-001', 'Toronto Front Street', 'Toronto', 43.6465, -79.3803, 'America/Toronto'),
    ('LOC-ON-002', 'Ottawa ByWard Market', 'Ottawa', 45.4275, -75.6923, 'America/Toronto'),
    ('LOC-ON-003', 'Mississauga Port Credit', 'Mississauga', 43.5517, -79.5862, 'America/Toronto'),
    ('LOC-ON-004', 'Brampton Main Street', 'Brampton', 43.6858, -79.7599, 'America/Toronto'),
    ('LOC-ON-005', 'Hamilton James Street', 'Hamilton', 43.2599, -79.8671, 'America/Toronto'),
    ('LOC-ON-006', 'London Richmond Row', 'London', 42.9901, -81.2510, 'America/Toronto'),
    ('LOC-ON-007', 'Kitchener King Street', 'Kitchener', 43.4503, -80.4892, 'America/Toronto'),
    ('LOC-ON-008', 'Windsor Riverside', 'Windsor', 42.3188, -83.0390, 'America/Toronto'),
    ('LOC-ON-009', 'Kingston Waterfront', 'Kingston', 44.2296, -76.4810, 'America/Toronto'),
    ('LOC-ON-010', 'Barrie Lakeshore', 'Barrie', 44.3878, -79.6891, 'America/Toronto'),
    ('LOC-ON-011', 'Sudbury Elm Street', 'Sudbury', 46.4919, -80.9945, 'America/Toronto'),
    ('LOC-ON-012', 'Thunder Bay Marina', 'Thunder Bay', 48.4346, -89.2168, 'America/Toronto');
