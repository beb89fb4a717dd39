//! A saga: what was booked is given back, the last thing first, when something fails or the run is
//! cancelled.
//!
//! `everstep start travel --input '{"card": "empty"}'`

use everstep_sdk::prelude::*;

#[payload]
struct Trip {
    /// `good` pays, `empty` does not.
    card: String,
    /// How long to think between the bookings and the payment.
    #[serde(default)]
    think_ms: u64,
}

/// Books something.
#[task]
async fn book(what: String) -> TaskResult<String> {
    Ok(format!("{what}-1"))
}

/// Gives a booking back.
#[task]
async fn unbook(booking: String) -> TaskResult<()> {
    println!("gave back {booking}");
    Ok(())
}

/// Takes the money, if there is any.
#[task(retry = fixed(max_attempts = 2, delay = millis(10)))]
async fn charge(card: String) -> TaskResult<()> {
    match card.as_str() {
        "good" => Ok(()),
        _ => Err(TaskError::new("card.empty", "there is no money on this card")),
    }
}

/// Books a flight and a hotel and pays for both, or for nothing.
#[workflow(version = "1.0")]
async fn travel(run: Run, trip: Trip) -> WorkflowResult<Vec<String>> {
    saga(&run, async |saga| {
        let mut bookings = Vec::new();
        for what in ["flight", "hotel"] {
            let booking = book.start(&run, what.to_owned()).await?;
            bookings.push(booking.clone());
            let undo = run.clone();
            saga.undo(move || async move { unbook.start(&undo, booking).await });
        }
        run.sleep(millis(trip.think_ms)).await;
        charge.start(&run, trip.card).await?;
        Ok(bookings)
    })
    .await
}

everstep_sdk::module!(workflows: [travel], tasks: [book, unbook, charge]);
