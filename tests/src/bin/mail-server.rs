//! A stand-in for a mail server, for the demo: accepts any POST on a free port of the loopback
//! interface and prints what it was asked to send. The first line it prints is its address.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![allow(clippy::unwrap_used)]

use axum::Router;
use axum::routing::post;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let router = Router::new().fallback(post(|body: String| async move {
        println!("mail server: asked to send {body}");
        "sent"
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}
