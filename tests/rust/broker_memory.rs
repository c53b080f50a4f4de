//! The broker's contracts over the memory double: what the other unit tests stand on.

use std::sync::atomic::{AtomicU64, Ordering};

use foodstream::broker::memory::{MemoryBroker, MemoryCluster, MemoryConsumer, MemoryProducer};

use crate::conformance::Harness;

#[derive(Default)]
struct Memory {
    broker: MemoryBroker,
    names: AtomicU64,
}

impl Harness for Memory {
    type Producer = MemoryProducer;
    type Consumer = MemoryConsumer;
    type Cluster = MemoryCluster;

    fn producer(&self, transactional_id: &str) -> MemoryProducer {
        self.broker.producer(transactional_id)
    }

    fn consumer(&self, group: &str, topic: &str) -> MemoryConsumer {
        self.broker.consumer(group, topic)
    }

    fn cluster(&self) -> MemoryCluster {
        self.broker.cluster()
    }

    fn fresh(&self, stem: &str) -> String {
        format!("{stem}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    fn append(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        let offset = self.broker.append(topic, partition, key, value).unwrap();
        self.broker.set_time_ms(1_763_460_000_000 + offset);
    }

    fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        self.broker.delete_records(topic, partition, before).unwrap();
    }

    fn delete_topic(&self, topic: &str) {
        self.broker.delete_topic(topic);
    }
}

crate::conformance_suite!(Memory::default());
