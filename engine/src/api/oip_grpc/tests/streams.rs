//! ModelStreamInfer, and what a drain does to it.

use super::*;

#[test]
fn a_stream_answers_in_order_and_survives_an_error() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let asked = [row(), wrong(), ModelInferRequest { id: "8".into(), ..row() }];
        let answers =
            client(&server).await.model_stream_infer(futures_util::stream::iter(asked)).await;
        let mut answers = answers.unwrap().into_inner();
        let mut seen = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            let response = answer.infer_response.unwrap();
            let last = &response.parameters["triton_final_response"].parameter_choice;
            assert_eq!(last, &Some(ParameterChoice::BoolParam(true)));
            seen.push((response.id, answer.error_message.is_empty()));
        }
        let expected = [("7", true), ("wrong", false), ("8", true)];
        assert_eq!(seen, expected.map(|(id, fine)| (id.to_owned(), fine)));
        assert_eq!(server.errors(ErrorKind::BadInput), 1);
    });
}

#[test]
fn a_stream_ends_by_a_status_where_its_client_wants_that() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut asked = Request::new(futures_util::stream::iter([row(), wrong(), row()]));
        asked.metadata_mut().insert("triton_grpc_error", "true".parse().unwrap());
        let mut answers =
            client(&server).await.model_stream_infer(asked).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some());
        assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
    });
}

#[test]
fn questions_of_a_stream_are_asked_side_by_side() {
    run(async {
        let (sender, mut waiting) = mpsc::channel(2);
        let server = TestServer::one(Script::Hold(sender));
        let asked = futures_util::stream::iter([row(), row()]);
        let answers = client(&server).await.model_stream_infer(asked).await.unwrap();
        let (first, second) = (held(&mut waiting).await, held(&mut waiting).await);
        for submission in [second, first] {
            submission.reply.waiter.send(Err(TaskError::DeadlinePassed)).unwrap();
        }
        let mut answers = answers.into_inner();
        for _ in 0..2 {
            assert!(!answers.message().await.unwrap().unwrap().error_message.is_empty());
        }
    });
}

#[test]
fn a_stream_that_is_dropped_leaves_nobody_waiting() {
    run(async {
        let (sender, mut waiting) = mpsc::channel(2);
        let server = TestServer::one(Script::Hold(sender));
        let asked = futures_util::stream::iter([row(), row()]);
        let answers = client(&server).await.model_stream_infer(asked).await.unwrap();
        let mut both = [held(&mut waiting).await, held(&mut waiting).await];
        drop(answers);
        for submission in &mut both {
            submission.reply.waiter.closed().await;
        }
    });
}

#[test]
fn a_drain_answers_what_was_accepted_and_ends_open_streams() {
    run(async {
        let (sender, mut waiting) = mpsc::channel(1);
        let server = TestServer::one(Script::Hold(sender));
        let mut client = client(&server).await;
        let mut streaming = client.clone();
        let open = futures_util::stream::pending::<ModelInferRequest>();
        let mut answers = streaming.model_stream_infer(open).await.unwrap().into_inner();
        let asked = tokio::spawn(async move { client.model_infer(row()).await });
        let submission = held(&mut waiting).await;
        server.drain.send_replace(DrainPhase::Closing);
        let ended = answers.message().await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{ended}");
        submission.reply.waiter.send(Err(TaskError::DeadlinePassed)).unwrap();
        assert_eq!(asked.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        server.serving_grpc.await.unwrap().unwrap();
    });
}
