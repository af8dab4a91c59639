//! The pricing service of the order-intake example: `POST /quotes` with an
//! amount and a tier answers with the discount and the total.

use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// The service's routes.
pub fn app() -> Router {
    Router::new()
        .route("/quotes", post(quotes))
        .route("/health", get(|| async { "ok" }))
}

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
