//! Onboarding of a user: an email through a mail server, a durable sleep of a day, and tips.
//!
//! Shows tasks with a real HTTP call, a retry policy, a grant, and a sleep that outlives any
//! restart of the host.
//!
//! `everstep start user-onboarding --input '{"user_id": "u1", "email": "ann@example.com"}'`

use everstep_sdk::http;
use everstep_sdk::prelude::*;

/// Who signed up.
#[payload]
struct Signup {
    user_id: String,
    email: String,
    /// How long to wait before the tips are sent; a day unless said otherwise.
    #[serde(default = "a_day")]
    sleep_ms: u64,
    /// Where to post the emails, such as `http://127.0.0.1:8025`. Without it they are only printed.
    mail_server: Option<String>,
}

fn a_day() -> u64 {
    86_400_000
}

#[payload]
struct Onboarded {
    success: bool,
    user_id: String,
}

#[payload]
struct Email {
    to: String,
    subject: String,
    mail_server: Option<String>,
}

impl Email {
    fn to(input: &Signup, subject: &str) -> Self {
        Self {
            to: input.email.clone(),
            subject: subject.into(),
            mail_server: input.mail_server.clone(),
        }
    }

    /// Posts the email. The token tells the mail server when the same email comes twice, which
    /// happens when a host dies between the sending and the recording of it.
    fn post(self, context: &TaskContext) -> TaskResult<()> {
        let Some(server) = &self.mail_server else {
            println!("to {}: {}", self.to, self.subject);
            return Ok(());
        };
        let mail = [("to", &self.to), ("subject", &self.subject)];
        http::post(format!("{server}/mail"))
            .header("idempotency-key", context.idempotency_token())
            .timeout(secs(5))
            .json(&std::collections::BTreeMap::from(mail))
            .send()?
            .success()?;
        Ok(())
    }
}

/// Asks the user to confirm the address.
#[task(retry = exponential(max_attempts = 8, initial = millis(250)), hosts = ["127.0.0.1:*"])]
async fn send_verification_email(context: TaskContext, email: Email) -> TaskResult<()> {
    email.post(&context)
}

/// Notes that the address has been confirmed.
#[task]
async fn mark_verified(user_id: String) -> TaskResult<()> {
    println!("{user_id} is verified");
    Ok(())
}

/// Sends tips for beginners.
#[task(retry = exponential(max_attempts = 8, initial = millis(250)), hosts = ["127.0.0.1:*"])]
async fn send_tips(context: TaskContext, email: Email) -> TaskResult<()> {
    email.post(&context)
}

/// Welcomes a user: verification first, tips a day later.
#[workflow(name = "user-onboarding", version = "1.0")]
async fn onboarding(run: Run, input: Signup) -> WorkflowResult<Onboarded> {
    run.logger().info("starting onboarding", fields!["email" => input.email]);
    send_verification_email.start(&run, Email::to(&input, "Please verify your address")).await?;
    mark_verified.start(&run, input.user_id.clone()).await?;
    run.sleep_named("before-tips", millis(input.sleep_ms)).await;
    send_tips.start(&run, Email::to(&input, "Tips for your first days")).await?;
    run.logger().info("onboarded", fields!["user_id" => input.user_id]);
    Ok(Onboarded { success: true, user_id: input.user_id })
}

everstep_sdk::module!(
    workflows: [onboarding],
    tasks: [send_verification_email, mark_verified, send_tips],
);
