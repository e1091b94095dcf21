use super::*;

fn retry(wait: Duration) -> (String, String) {
    let error = ApiError::Task(TaskError::QueueFull { retry_after: wait });
    let response = response(&error);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let text = |name: HeaderName| response.headers()[name].to_str().unwrap().to_owned();
    (text(RETRY_AFTER), text(RETRY_AFTER_MS))
}

#[test]
fn a_wait_is_said_in_whole_seconds_and_in_milliseconds() {
    assert_eq!(retry(Duration::ZERO), ("1".into(), "1".into()));
    assert_eq!(retry(Duration::from_millis(250)), ("1".into(), "250".into()));
    assert_eq!(retry(Duration::from_millis(1001)), ("2".into(), "1001".into()));
}

#[test]
fn every_task_error_has_its_status() {
    let message: Arc<str> = "why".into();
    let second = Duration::from_secs(1);
    let cases = [
        (TaskError::QueueFull { retry_after: second }, 503),
        (TaskError::TooLarge { bytes: 2, limit: 1 }, 413),
        (TaskError::DeadlinePassed, 504),
        (
            TaskError::NoReplica {
                model: message.clone(),
                reason: message.clone(),
                retry_after: second,
            },
            503,
        ),
        (TaskError::ModelRaised { message: message.clone() }, 500),
        (TaskError::InputRefused { message: message.clone() }, 400),
        (TaskError::BadOutput { message: message.clone() }, 500),
        (TaskError::ReplicaLost { last_output: message.clone() }, 500),
        (TaskError::Quarantined { last_output: message }, 500),
        (TaskError::BatchTimeout { limit: second }, 504),
        (TaskError::Draining, 503),
    ];
    for (error, status) in cases {
        let shown = ApiError::Task(error.clone()).shown();
        assert_eq!(shown.status.as_u16(), status, "{error}");
        assert_eq!(shown.retry_after.is_some(), status == 503, "{error}");
    }
}

#[test]
fn a_wrong_method_names_the_right_one() {
    let response = response(&ApiError::Method { allow: "POST" });
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[ALLOW], "POST");
}
