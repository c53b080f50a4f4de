//! What librdkafka's codes mean for a caller: wait, mend, stop.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::context::Context;
use super::native::Failure;
use crate::error::{Error, Kind};

/// The broker is away, busy or moving: asking again may help.
pub fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::WaitingForCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::NotController
            | Code::KafkaStorageError
            | Code::ConcurrentTransactions
            | Code::ThrottlingQuotaExceeded
            | Code::UnknownBroker
            | Code::OffsetNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::RebalanceInProgress
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::PreviousInProgress
            | Code::InProgress
            | Code::Retry
            | Code::SSL
            | Code::ISRInsufficient
            | Code::WaitCache
    )
}

/// The partition has no leader, or not yet one that every broker knows.
pub fn is_electing(code: Code) -> bool {
    matches!(code, Code::LeaderNotAvailable | Code::NotLeaderForPartition | Code::UnknownTopicOrPartition)
}

/// Another producer of the same transactional id has begun, or the broker ended this one's epoch.
pub fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::InvalidProducerEpoch | Code::ProducerFenced)
}

/// Turns a failure into the error that leaves this module. `doing` is a phrase such as ``reading topic `orders` ``.
pub fn failed(context: &Context, doing: &str, failure: &Failure) -> Error {
    let brokers = context.brokers();
    // A refusal explains every time-out that follows it.
    if let Some(refusal) = context.refusal() {
        return refused(brokers, doing, &refusal);
    }
    let words = &failure.text;
    match failure.code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            refused(brokers, doing, failure)
        }
        code if is_fenced(code) => Error::new(
            Kind::Fenced,
            format!(
                "{doing}: another producer took over this transactional id, or the broker ended this one ({words})"
            ),
        ),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => Error::new(
            Kind::Broker,
            format!("{doing}: kafka at `{brokers}` does not allow it ({words}); grant the missing access to this user"),
        ),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopicId => {
            Error::new(Kind::Broker, format!("{doing}: kafka at `{brokers}` has no such topic or partition ({words})"))
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            Error::new(Kind::Broker, format!("{doing}: a message is larger than allowed ({words}); {TOO_LARGE}"))
        }
        Code::UnsupportedFeature | Code::UnsupportedVersion => {
            Error::new(Kind::Broker, format!("{doing}: kafka at `{brokers}` is too old ({words}); {FLOOR}"))
        }
        // A broker that has just started, or answered too slowly for a moment, has not been let in yet.
        Code::InvalidReplicationFactor if words.contains("brokers are currently fenced") => {
            Error::new(Kind::Broker, format!("{doing}: no broker of kafka at `{brokers}` is let in yet ({words})"))
                .retriable()
        }
        Code::InvalidReplicationFactor => Error::new(
            Kind::Broker,
            format!(
                "{doing}: kafka at `{brokers}` has fewer brokers than copies were asked for ({words}); \
                 lower `kafka.replication_factor`"
            ),
        ),
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => Error::new(
            Kind::Broker,
            format!("{doing}: damaged data came from kafka at `{brokers}` ({words}); nothing was skipped"),
        ),
        code if is_passing(code) => {
            let why = context.transport().unwrap_or_default();
            let why =
                if why.is_empty() || words.contains(&why) { String::new() } else { format!("; last heard: {why}") };
            Error::new(Kind::Broker, format!("{doing}: kafka at `{brokers}` does not answer ({words}{why})"))
                .retriable()
        }
        code => Error::new(Kind::Broker, format!("{doing}: kafka at `{brokers}` refused it: {words} ({code:?})")),
    }
}

const TOO_LARGE: &str =
    "raise `max.message.bytes` of the topic and `message.max.bytes` in `kafka.producer`, or shorten the row";

/// The oldest version the protocols were proven on.
pub const FLOOR: &str = "foodstream needs Apache Kafka 3.4 or newer";

fn refused(brokers: &str, doing: &str, failure: &Failure) -> Error {
    let way_out = match failure.code {
        Code::SSL => "check `ssl.ca.location` and the host name in `kafka.brokers`",
        _ => "check `sasl.mechanism`, `sasl.username` and the password in `kafka.properties`",
    };
    let words = &failure.text;
    Error::new(Kind::Broker, format!("{doing}: kafka at `{brokers}` refused the connection ({words}); {way_out}"))
}

/// An error of the safe wrapper. Values of settings never get into the text: one may be a password.
pub fn wrapper_failed(context_or_brokers: &str, doing: &str, error: &KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => Error::config(format!(
            "{doing}: librdkafka does not accept the setting `{key}` or its value; see its CONFIGURATION.md for the \
             names and values"
        )),
        KafkaError::ClientCreation(words) => {
            Error::config(format!("{doing}: librdkafka does not accept these settings together: {words}"))
        }
        other => Error::new(Kind::Broker, format!("{doing}: kafka at `{context_or_brokers}`: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code) -> Error {
        failed(&Context::new("broker.example:9092"), "sending", &Failure { code, text: "words".to_owned() })
    }

    #[test]
    fn an_absent_broker_is_worth_waiting_for_and_exits_75() {
        for code in [Code::AllBrokersDown, Code::Resolve, Code::OperationTimedOut, Code::CoordinatorNotAvailable] {
            assert_eq!(of(code).exit_code(), 75, "{code:?}");
            assert_eq!(of(code).kind(), Kind::Broker);
        }
    }

    #[test]
    fn refusals_are_not_worth_waiting_for() {
        for code in [
            Code::Authentication,
            Code::TopicAuthorizationFailed,
            Code::UnknownTopicOrPartition,
            Code::MessageSizeTooLarge,
            Code::UnsupportedVersion,
            Code::BadMessage,
        ] {
            assert!(!of(code).is_retriable(), "{code:?}");
        }
    }

    #[test]
    fn brokers_that_are_not_let_in_yet_are_waited_for_and_too_few_are_not() {
        let of = |words: &str| {
            let failure = Failure { code: Code::InvalidReplicationFactor, text: words.to_owned() };
            failed(&Context::new("broker.example:9092"), "creating topic `orders`", &failure)
        };
        let fenced = "Unable to replicate the partition 1 time(s): All brokers are currently fenced.";
        assert!(of(fenced).is_retriable());
        assert!(
            !of("The target replication factor of 3 cannot be reached because only 1 broker(s) are registered.")
                .is_retriable()
        );
    }

    #[test]
    fn a_fenced_producer_is_its_own_kind() {
        assert_eq!(of(Code::ProducerFenced).kind(), Kind::Fenced);
        assert_eq!(of(Code::InvalidProducerEpoch).kind(), Kind::Fenced);
    }

    #[test]
    fn a_refusal_heard_earlier_explains_a_time_out() {
        let context = Context::new("broker.example:9092");
        context.take_error(Code::Authentication, "SASL authentication error: Authentication failed");
        let time_out = Failure { code: Code::OperationTimedOut, text: "timed out".to_owned() };
        let error = failed(&context, "connecting", &time_out);
        assert!(!error.is_retriable());
        assert!(error.to_string().contains("sasl.username"), "{error}");
    }

    #[test]
    fn a_refused_setting_is_named_without_its_value() {
        let error = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "Invalid value \"hunter2\" for configuration property \"sasl.password\"".to_owned(),
            "sasl.password".to_owned(),
            "hunter2".to_owned(),
        );
        let text = wrapper_failed("b:9092", "opening a consumer", &error).report();
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }
}
