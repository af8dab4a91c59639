//! The pricing service of the order-intake example: `POST /quotes` with an
//! amount and a tier answers with the discount and the total.
//!
//! `millrace-example-pricing [ADDRESS]` listens on 127.0.0.1:8090 by default
//! and prints where, so that port 0 is of use.

use std::error::Error;

use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
struct Order {
    amount: f64,
    tier: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Quote {
    discount: f64,
    total: f64,
}

/// Key accounts get 5 % off; all amounts are rounded to cents.
fn quote(order: &Order) -> Quote {
    let rate = if order.tier == "key-account" {
        0.05
    } else {
        0.0
    };
    let discount = cents(order.amount * rate);
    Quote {
        discount,
        total: cents(order.amount - discount),
    }
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

async fn quotes(Json(order): Json<Order>) -> Json<Quote> {
    Json(quote(&order))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let listener = tokio::net::TcpListener::bind(&address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("pricing service on http://{}", listener.local_addr()?);
    let app = Router::new()
        .route("/quotes", post(quotes))
        .route("/health", get(|| async { "ok" }));
    axum::serve(listener, app).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_accounts_get_five_percent_off() {
        let order = |tier: &str| Order {
            amount: 1234.56,
            tier: tier.into(),
        };
        assert_eq!(
            quote(&order("key-account")),
            Quote {
                discount: 61.73,
                total: 1172.83
            }
        );
        assert_eq!(
            quote(&order("standard")),
            Quote {
                discount: 0.0,
                total: 1234.56
            }
        );
    }
}
