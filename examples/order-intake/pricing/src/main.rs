//! `millrace-example-pricing [ADDRESS]` listens on 127.0.0.1:8090 by default
//! and prints where, so that port 0 is of use.

use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let listener = tokio::net::TcpListener::bind(&address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("pricing service on http://{}", listener.local_addr()?);
    axum::serve(listener, millrace_example_pricing::app()).await?;
    Ok(())
}
