//! Questions to the cluster: topics with their ids, their settings, offsets; and creating a topic.

use std::ffi::c_char;
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::Handle;
use super::{Failure, Owned, c_text, milliseconds, pointers, take_error, text_of};

pub struct TopicInfo {
    pub partitions: i32,
    /// Base64, as Kafka's own tools print it; `None` where the cluster gives topics no ids.
    pub id: Option<String>,
}

pub struct NewTopic<'a> {
    pub name: &'a str,
    pub partitions: i32,
    pub replication_factor: i32,
    pub config: Vec<(&'a str, &'a str)>,
}

pub enum SettingsOf<'a> {
    Topic(&'a str),
    /// By its id.
    Broker(i32),
}

#[derive(Clone, Copy)]
pub enum OffsetSpec {
    Earliest,
    /// The end as READ_UNCOMMITTED sees it: past open transactions.
    End,
    AtTime(i64),
}

pub struct ListedOffset {
    pub partition: i32,
    /// Negative where no message is that young.
    pub offset: i64,
}

/// librdkafka asks each leader and puts the answers together. A partition whose leader fell away meanwhile is left with
/// this offset and with no error; taken for an end, it would look as if the broker had lost all records.
const UNANSWERED: i64 = sys::RD_KAFKA_OFFSET_INVALID as i64;

fn answered(partition: i32, offset: i64) -> Result<ListedOffset, Failure> {
    match offset {
        UNANSWERED => Err(Failure::new(
            Code::LeaderNotAvailable,
            format!("the leader of partition {partition} fell away before it answered"),
        )),
        offset => Ok(ListedOffset { partition, offset }),
    }
}

/// How often a wait for an answer looks for refused credentials, which make the answer pointless.
const SLICE: Duration = Duration::from_millis(50);

type Event = Owned<sys::rd_kafka_event_t>;
type Queue = Owned<sys::rd_kafka_queue_t>;
type Options = Owned<sys::rd_kafka_AdminOptions_t>;

impl Handle {
    /// `None` when there is no such topic.
    pub fn describe_topic(&self, name: &str, timeout: Duration) -> Result<Option<TopicInfo>, Failure> {
        let name = c_text(name)?;
        let mut names: [*const c_char; 1] = [name.as_ptr()];
        // SAFETY: the array holds one name that ends with NUL; it is copied.
        let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1) };
        let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)
            .ok_or_else(|| Failure::new(Code::InvalidArgument, "the topic's name was refused"))?;
        let event =
            self.ask(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout, |options, queue| {
                // SAFETY: all four are live; the request copies what it needs.
                unsafe { sys::rd_kafka_DescribeTopics(self.ptr(), topics.as_ptr(), options.as_ptr(), queue.as_ptr()) }
            })?;
        // SAFETY: the event is the answer to this request and outlives the borrows; texts are copied.
        unsafe {
            let mut count = 0;
            let result = sys::rd_kafka_event_DescribeTopics_result(event.as_ptr());
            let found = pointers(sys::rd_kafka_DescribeTopics_result_topics(result, &mut count), count);
            let Some(&topic) = found.first() else { return Ok(None) };
            let error = sys::rd_kafka_TopicDescription_error(topic);
            let code: Code = sys::rd_kafka_error_code(error).into();
            match code {
                Code::NoError => {}
                Code::UnknownTopicOrPartition | Code::UnknownTopic => return Ok(None),
                code => return Err(Failure::new(code, text_of(sys::rd_kafka_error_string(error)))),
            }
            let mut partitions = 0;
            sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let has_id = !id.is_null()
                && (sys::rd_kafka_Uuid_most_significant_bits(id) != 0
                    || sys::rd_kafka_Uuid_least_significant_bits(id) != 0);
            let id = has_id.then(|| text_of(sys::rd_kafka_Uuid_base64str(id)));
            Ok(Some(TopicInfo { partitions: partitions as i32, id }))
        }
    }

    pub fn create_topic(&self, topic: &NewTopic<'_>, timeout: Duration) -> Result<(), Failure> {
        let name = c_text(topic.name)?;
        let mut reason = [0 as c_char; 256];
        // SAFETY: the name ends with NUL; the buffer has the stated length.
        let created = unsafe {
            let (partitions, factor) = (topic.partitions, topic.replication_factor);
            sys::rd_kafka_NewTopic_new(name.as_ptr(), partitions, factor, reason.as_mut_ptr(), reason.len())
        };
        let created = Owned::new(created, sys::rd_kafka_NewTopic_destroy)
            .ok_or_else(|| Failure::new(Code::InvalidArgument, text_of(reason.as_ptr())))?;
        for (key, value) in &topic.config {
            let (key, value) = (c_text(key)?, c_text(value)?);
            // SAFETY: all live and ended with NUL; copied.
            unsafe { sys::rd_kafka_NewTopic_set_config(created.as_ptr(), key.as_ptr(), value.as_ptr()) };
        }
        let mut list = [created.as_ptr()];
        let event = self.ask(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout, |options, queue| {
            // SAFETY: the array holds one live topic; the request copies it.
            unsafe {
                sys::rd_kafka_CreateTopics(self.ptr(), list.as_mut_ptr(), 1, options.as_ptr(), queue.as_ptr());
            }
        })?;
        // SAFETY: the event is the answer to this request; texts are copied.
        unsafe {
            let mut count = 0;
            let result = sys::rd_kafka_event_CreateTopics_result(event.as_ptr());
            for &one in pointers(sys::rd_kafka_CreateTopics_result_topics(result, &mut count), count) {
                let code: Code = sys::rd_kafka_topic_result_error(one).into();
                if code != Code::NoError {
                    return Err(Failure::new(code, text_of(sys::rd_kafka_topic_result_error_string(one))));
                }
            }
        }
        Ok(())
    }

    /// The effective settings of a topic or a broker, by name. What the broker holds for a secret has no value.
    pub fn settings(&self, of: &SettingsOf<'_>, timeout: Duration) -> Result<Vec<(String, String)>, Failure> {
        let (kind, name) = match of {
            SettingsOf::Topic(topic) => (sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, c_text(topic)?),
            SettingsOf::Broker(id) => {
                (sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER, c_text(&id.to_string())?)
            }
        };
        // SAFETY: the name ends with NUL.
        let resource = unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) };
        let resource = Owned::new(resource, sys::rd_kafka_ConfigResource_destroy)
            .ok_or_else(|| Failure::new(Code::InvalidArgument, "the name was refused"))?;
        let mut list = [resource.as_ptr()];
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let event = self.ask(operation, timeout, |options, queue| {
            // SAFETY: the array holds one live resource; the request copies it.
            unsafe {
                sys::rd_kafka_DescribeConfigs(self.ptr(), list.as_mut_ptr(), 1, options.as_ptr(), queue.as_ptr());
            }
        })?;
        let mut settings = Vec::new();
        // SAFETY: the event is the answer to this request and outlives the borrows; texts are copied.
        unsafe {
            let mut count = 0;
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.as_ptr());
            for &one in pointers(sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count), count) {
                let code: Code = sys::rd_kafka_ConfigResource_error(one).into();
                if code != Code::NoError {
                    return Err(Failure::new(code, text_of(sys::rd_kafka_ConfigResource_error_string(one))));
                }
                let mut entries = 0;
                for &entry in pointers(sys::rd_kafka_ConfigResource_configs(one, &mut entries), entries) {
                    let name = text_of(sys::rd_kafka_ConfigEntry_name(entry));
                    settings.push((name, text_of(sys::rd_kafka_ConfigEntry_value(entry))));
                }
            }
        }
        Ok(settings)
    }

    /// Offsets of partitions `0..partitions`, READ_UNCOMMITTED, in one request a broker.
    pub fn list_offsets(
        &self,
        topic: &str,
        partitions: i32,
        spec: OffsetSpec,
        timeout: Duration,
    ) -> Result<Vec<ListedOffset>, Failure> {
        let offset = match spec {
            OffsetSpec::Earliest => Offset::Beginning,
            OffsetSpec::End => Offset::End,
            OffsetSpec::AtTime(milliseconds) => Offset::Offset(milliseconds.max(0)),
        };
        let mut list = TopicPartitionList::with_capacity(partitions.max(0) as usize);
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, offset)
                .map_err(|error| Failure::new(Code::InvalidArgument, error.to_string()))?;
        }
        let event = self.ask(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout, |options, queue| {
            // SAFETY: all live; the request copies the list. The returned error of setting a valid level is null.
            unsafe {
                let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED;
                drop(take_error(sys::rd_kafka_AdminOptions_set_isolation_level(options.as_ptr(), level)));
                sys::rd_kafka_ListOffsets(self.ptr(), list.ptr(), options.as_ptr(), queue.as_ptr());
            }
        })?;
        let mut offsets = Vec::with_capacity(partitions.max(0) as usize);
        // SAFETY: the event is the answer to this request and outlives the borrows.
        unsafe {
            let mut count = 0;
            let result = sys::rd_kafka_event_ListOffsets_result(event.as_ptr());
            for &one in pointers(sys::rd_kafka_ListOffsets_result_infos(result, &mut count), count) {
                let found = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(one);
                let code: Code = found.err.into();
                if code != Code::NoError {
                    return Err(Failure::new(code, text_of(sys::rd_kafka_err2str(found.err))));
                }
                offsets.push(answered(found.partition, found.offset)?);
            }
        }
        offsets.sort_by_key(|listed| listed.partition);
        Ok(offsets)
    }

    /// Sends one request and waits for its answer, serving log lines and errors meanwhile.
    fn ask(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        send: impl FnOnce(&Options, &Queue),
    ) -> Result<Event, Failure> {
        let deadline = Instant::now() + timeout;
        // SAFETY: the handle is live; both objects are ours.
        let (options, queue) = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.ptr(), operation);
            let queue = sys::rd_kafka_queue_new(self.ptr());
            (Owned::new(options, sys::rd_kafka_AdminOptions_destroy), Owned::new(queue, sys::rd_kafka_queue_destroy))
        };
        let (Some(options), Some(queue)) = (options, queue) else {
            return Err(Failure::new(Code::Fail, "no memory for an admin request"));
        };
        let mut reason = [0 as c_char; 256];
        let wait = milliseconds(timeout).max(1);
        // SAFETY: the options are live and the buffer has the stated length. A value out of range leaves the default.
        unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), wait, reason.as_mut_ptr(), reason.len())
        };
        send(&options, &queue);
        loop {
            self.serve(Duration::ZERO);
            // SAFETY: the queue is live; the event is ours.
            let event = unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), milliseconds(SLICE)) };
            if let Some(event) = Owned::new(event, sys::rd_kafka_event_destroy) {
                // SAFETY: the event is live; its text is copied.
                let (code, text) = unsafe {
                    let code: Code = sys::rd_kafka_event_error(event.as_ptr()).into();
                    (code, text_of(sys::rd_kafka_event_error_string(event.as_ptr())))
                };
                self.serve(Duration::ZERO);
                return if code == Code::NoError { Ok(event) } else { Err(Failure::new(code, text)) };
            }
            if let Some(refusal) = self.context().refusal() {
                return Err(refusal);
            }
            if Instant::now() > deadline + SLICE {
                return Err(Failure::new(Code::OperationTimedOut, "no answer"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::kafka::error::{is_electing, is_passing};

    #[test]
    fn an_offset_that_no_leader_gave_is_asked_for_again_and_is_no_end() {
        let failure = answered(2, UNANSWERED).err().expect("no answer");
        assert!(is_electing(failure.code) && is_passing(failure.code));
        assert!(failure.text.contains("partition 2"));
        // No message is that young.
        assert_eq!(answered(2, -1).ok().map(|found| found.offset), Some(-1));
    }
}
