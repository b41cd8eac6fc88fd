//! How it ends.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use domain::Service;
use tokio::sync::Semaphore;

use crate::head::{Head, LIMIT, get_request, read};

#[tokio::test]
async fn an_open_request_is_finished_and_no_other_taken() {
    let (head, mut gateway) = Head::started("").await;
    let (came, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let slow = Router::new().fallback({
        let (came, go) = (Arc::clone(&came), Arc::clone(&go));
        async move || {
            came.add_permits(1);
            go.acquire().await.unwrap().forget();
            "done"
        }
    });
    head.serve(Service::Power, slow);
    let mut sender = gateway.tls(&head, "localhost").await.unwrap();
    let mut idle = gateway.plain().await;
    let request = get_request("/power-status").body(Default::default()).unwrap();
    let answer = tokio::spawn(async move { read(sender.send_request(request).await.unwrap()).await });
    came.acquire().await.unwrap().forget();
    gateway.stop.cancel();
    crate::head::until(async || idle.is_closed()).await;
    assert!(idle.send_request(get_request("/").body(Default::default()).unwrap()).await.is_err());
    go.add_permits(1);
    let (response, text) = answer.await.unwrap();
    assert_eq!((response.status(), text.as_str()), (StatusCode::OK, "done"));
    tokio::time::timeout(LIMIT, &mut gateway.ended).await.unwrap().unwrap().unwrap();
}
