//! The admin port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever decides over restarts and traffic.
//!
//! Lives on the control thread. It reads the registry and nothing else, so no request to it can reach a shard. It has no
//! authentication and listens on loopback unless told otherwise; what one can do here is look.

mod gate;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::metrics::{self, Registry};
use gate::Gate;

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = "iolite-broker\n\n/metrics  figures, for Prometheus\n/healthz  the process lives\n\
     /readyz   it should get traffic, or why not\n";

/// Serves until `stop` is done.
///
/// # Errors
/// The listener can't be used; single connections' troubles are their own.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let gate = Gate::new(tokio::net::TcpListener::from_std(listener)?);
    axum::serve(gate, router(registry)).with_graceful_shutdown(stop).await
}

fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/", get(async || INDEX))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
        .with_state(registry)
}

async fn ready(State(registry): State<Arc<Registry>>) -> (StatusCode, String) {
    let reasons = registry.unready_reasons();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

async fn figures(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], metrics::render(&registry))
}
