//! What was sold: sums, courses, rows, rankings and the newest orders.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use super::parameters::{FILTERS, Parameters, Rejection};
use crate::store::{self, Entity, Filter, Ranking, Sort, Window};

type Answer = Result<Json<Value>, Rejection>;

/// `GET /kpis`: the sums of a window, and of as much time before it.
pub(super) async fn kpis(State(app): State<Arc<App>>, mut parameters: Parameters) -> Answer {
    let filter = parameters.filter(&app.sampler.sites())?;
    parameters.finish(FILTERS)?;
    let mut session = app.store.session().await?;
    let snapshot = store::snapshot(&mut session).await?;
    let window = Window::last(&snapshot, filter.minutes).await?;
    let current = store::kpis(&snapshot, &window, &filter).await?;
    let before = store::kpis(&snapshot, &window.before(), &filter).await?;
    Ok(Json(json!({ "window": window, "current": current, "before": before })))
}

/// `GET /series`: orders and revenue of each minute.
pub(super) async fn series(State(app): State<Arc<App>>, mut parameters: Parameters) -> Answer {
    let filter = parameters.filter(&app.sampler.sites())?;
    parameters.finish(FILTERS)?;
    let session = app.store.session().await?;
    let window = Window::last(&session, filter.minutes).await?;
    let points = store::series(&session, &window, &filter).await?;
    Ok(Json(json!({ "window": window, "points": points })))
}

/// `GET /metrics`: a row for each minute, location and service type.
pub(super) async fn metrics(State(app): State<Arc<App>>, mut parameters: Parameters) -> Answer {
    let filter = parameters.filter(&app.sampler.sites())?;
    let limit = parameters.number("limit", 100, 5000)?;
    let sort = parameters.sort()?;
    parameters.finish("minutes, location, service_type, limit, sort")?;
    let session = app.store.session().await?;
    let window = Window::last(&session, filter.minutes).await?;
    rows(&session, window, &filter, sort, limit).await
}

/// `GET /metrics/latest`: the rows of the last minute that is over.
pub(super) async fn latest(State(app): State<Arc<App>>, mut parameters: Parameters) -> Answer {
    let filter = parameters.places(&app.sampler.sites(), 1)?;
    parameters.finish("location, service_type")?;
    let session = app.store.session().await?;
    let window = Window::last_complete(&session).await?;
    let sort = Sort { by: "location", descending: false };
    rows(&session, window, &filter, sort, 5000).await
}

async fn rows(
    session: &impl deadpool_postgres::GenericClient,
    window: Window,
    filter: &Filter,
    sort: Sort,
    limit: u32,
) -> Answer {
    let rows = store::minutes(session, &window, filter, sort, i64::from(limit)).await?;
    let sort = format!("{}{}", if sort.descending { "-" } else { "" }, sort.by);
    Ok(Json(json!({
        "window": window,
        "rows": rows,
        "filters": {
            "minutes": filter.minutes,
            "location": filter.locations,
            "service_type": filter.service_types,
            "sort": sort,
            "limit": limit,
        },
        "server_time": Timestamp::now(),
    })))
}

/// `GET /streams/top`: a ranking of what `by` names.
pub(super) async fn streams_top(State(app): State<Arc<App>>, mut parameters: Parameters) -> Answer {
    let by = parameters.entity()?;
    ranking(&app, parameters, by, "minutes, location, service_type, by, metric, n").await
}

/// What the rankings below can be asked.
const RANKING: &str = "minutes, location, service_type, metric, n";

/// `GET /locations/top`.
pub(super) async fn locations_top(State(app): State<Arc<App>>, parameters: Parameters) -> Answer {
    ranking(&app, parameters, Entity::Location, RANKING).await
}

/// `GET /items/top`.
pub(super) async fn items_top(State(app): State<Arc<App>>, parameters: Parameters) -> Answer {
    ranking(&app, parameters, Entity::Item, RANKING).await
}

/// `GET /payments/mix`.
pub(super) async fn payments_mix(State(app): State<Arc<App>>, parameters: Parameters) -> Answer {
    ranking(&app, parameters, Entity::PaymentMethod, RANKING).await
}

async fn ranking(app: &App, mut parameters: Parameters, by: Entity, allowed: &str) -> Answer {
    let filter = parameters.filter(&app.sampler.sites())?;
    let metric = parameters.choice("metric", by.metrics())?;
    let n = parameters.number("n", 10, 200)?;
    parameters.finish(allowed)?;
    let session = app.store.session().await?;
    let window = Window::last(&session, filter.minutes).await?;
    // What is counted by the hour is shown by the hour, and says so.
    let window = if by.is_hourly() { window.hours() } else { window };
    let ranking = Ranking { by, metric, n: i64::from(n) };
    let rows = store::top(&session, &window, &filter, ranking).await?;
    Ok(Json(json!({ "by": by.as_str(), "metric": metric, "window": window, "rows": rows })))
}

/// `GET /locations`: the sites.
pub(super) async fn locations(State(app): State<Arc<App>>, parameters: Parameters) -> Answer {
    parameters.finish("none")?;
    let session = app.store.session().await?;
    let rows = store::sites(&session).await?;
    Ok(Json(json!({ "rows": rows })))
}

/// `GET /orders/live`: the newest orders.
pub(super) async fn orders_live(State(app): State<Arc<App>>, mut parameters: Parameters) -> Answer {
    let filter = parameters.filter(&app.sampler.sites())?;
    let limit = parameters.number("limit", 20, 200)?;
    parameters.finish("minutes, location, service_type, limit")?;
    let session = app.store.session().await?;
    let window = Window::last(&session, filter.minutes).await?;
    let rows = store::orders(&session, &window, &filter, i64::from(limit)).await?;
    Ok(Json(json!({ "rows": rows })))
}
