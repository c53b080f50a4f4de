//! The keys of the documents' files, as each of them writes them; values are our own where they do not matter.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::StartingOffsets;
use crate::model::DataType;

#[test]
fn the_readme_variant_loads() {
    let settings = load(
        "\
postgres:
  host: postgres                    # a comment
  port: 5432
  db: food_delivery_db
  user: student
  password: student123
  driver: org.postgresql.Driver
  table: 2025em1100102_orders
kafka:
  brokers: kafka:9095
  topic: 2025em1100102_food_orders_raw
  num_partitions: 3
  replication_factor: 1
  consumer_group: food_orders_consumer_group
streaming:
  checkpoint_location: /app/datalake/checkpoints/orders
  last_processed_timestamp_location: /app/datalake/lastprocess/orders
  batch_interval: 5
cdc:
  poll_interval_sec: 5
  batch_limit: 1000
  default_start_timestamp: \"2025-11-18 00:00:00\"
datalake:
  path: /app/datalake/output/orders
  format: parquet
consumer:
  maxOffsetsPerTrigger: 1000
  trigger_interval_ms: 5000
  await_termination_timeout: 0
validation:
  allow_null_order_id: false
  allow_negative_amount: false
  drop_invalid_rows: true
",
    );
    let postgres = settings.require_postgres().expect("postgres");
    assert_eq!((postgres.host.as_str(), postgres.port), ("postgres", 5432));
    assert_eq!(postgres.table, "2025em1100102_orders");
    let kafka = settings.require_kafka().expect("kafka");
    assert_eq!((kafka.num_partitions, kafka.replication_factor), (3, 1));
    assert_eq!(kafka.consumer_group, "food_orders_consumer_group");
    assert_eq!(settings.require_checkpoint().expect("set"), Path::new("/app/datalake/checkpoints/orders"));
    let state = Path::new("/app/datalake/lastprocess/orders/last_processed_timestamp.txt");
    assert_eq!(settings.streaming.state_file.as_deref(), Some(state));
    assert_eq!(settings.cdc.default_start_timestamp_us, 1_763_424_000_000_000);
    assert_eq!(settings.cdc.poll_interval, Duration::from_secs(5));
    let lake = settings.require_lake().expect("lake");
    assert_eq!(lake.quarantine_path, Path::new("/app/datalake/output/orders_quarantine"));
    assert_eq!(lake.staging_path, Path::new("/app/datalake/output/orders_staging"));
    assert_eq!(settings.consumer.max_offsets_per_trigger, Some(1000));
    assert_eq!(settings.consumer.await_termination_timeout, None);
    assert!(settings.validation.drop_invalid_rows);
    assert!(settings.schema.is_none());
    let notes: Vec<&str> = settings.notes().iter().map(|note| note.text.as_str()).collect();
    assert_eq!(notes[0], "`postgres.driver` names the JVM's driver: accepted, without effect");
}

/// The architecture document and the implementation plan share these keys.
#[test]
fn the_architecture_and_plan_variants_load() {
    let settings = load(
        "\
postgres:
  jdbc_url: \"jdbc:postgresql://postgres:5432/food_delivery_db\"
  host: postgres
  port: 5432
  db: \"food_delivery_db\"
  user: \"student\"
  password: \"student123\"
  table: \"2025em1100506_orders\"
kafka:
  brokers: \"kafka:29092\"
  topic: \"2025em1100506_food_orders_raw\"
datalake:
  path: \"/datalake/output/orders\"
  format: \"parquet\"
streaming:
  checkpoint_location: \"/datalake/checkpoints/orders\"
  last_processed_timestamp_location: \"/datalake/lastprocess/orders\"
  batch_interval: 7  # seconds
",
    );
    assert_eq!(settings.require_postgres().expect("postgres").database, "food_delivery_db");
    let kafka = settings.require_kafka().expect("kafka");
    assert_eq!(kafka.consumer_group, "foodstream-2025em1100506_food_orders_raw");
    assert_eq!(settings.cdc.poll_interval, Duration::from_secs(7), "batch_interval stands in for the poll");
    assert_eq!(settings.consumer.trigger_interval, Duration::from_secs(7), "and for the trigger");
    assert_eq!(settings.cdc.default_start_timestamp_us, 0);
    let only_url = load("postgres:\n  jdbc_url: jdbc:postgresql://postgres/food\n  user: u\n  table: t\n");
    let postgres = only_url.require_postgres().expect("filled from the url");
    assert_eq!((postgres.host.as_str(), postgres.port, postgres.database.as_str()), ("postgres", 5432, "food"));
}

#[test]
fn the_execution_guides_keys_load() {
    let settings = load(
        "\
postgres:
  host: localhost
  port: 5432
  database: food_delivery_db
  user: student
  password: student123
  table: orders
kafka:
  bootstrap_servers: localhost:9092
  topic_name: food_orders_raw
  auto_offset_reset: earliest
cdc:
  poll_interval_sec: 0.25
consumer:
  startingOffsets: earliest
  failOnDataLoss: false
schema:
  - name: order_id
    type: bigint
    nullable: false
  - name: amount
    type: double
  - name: created_at
    type: timestamp
    nullable: true
logging:
  level: INFO
  format: \"%(asctime)s - %(levelname)s - %(message)s\"
  file: logs/pipeline.log
",
    );
    assert_eq!(settings.require_postgres().expect("postgres").database, "food_delivery_db");
    let kafka = settings.require_kafka().expect("kafka");
    assert_eq!((kafka.brokers.as_str(), kafka.topic.as_str()), ("localhost:9092", "food_orders_raw"));
    assert_eq!(settings.cdc.poll_interval, Duration::from_millis(250));
    assert_eq!(settings.consumer.starting_offsets, StartingOffsets::Earliest);
    assert!(!settings.consumer.fail_on_data_loss);
    let schema = settings.schema.as_ref().expect("written");
    assert_eq!(schema.columns[1].data_type, DataType::Double, "double is honoured where it is written");
    assert_eq!((schema.columns[0].nullable, schema.columns[1].nullable), (false, true));
    assert_eq!(settings.logging.level, "info");
    assert_eq!(settings.logging.format.to_string(), "%(asctime)s - %(levelname)s - %(message)s");
    assert_eq!(settings.logging.file.as_deref(), Some(Path::new("logs/pipeline.log")));
}

#[test]
fn snake_case_and_kafka_placed_variants_mean_the_same() {
    let snake =
        load("consumer: {max_offsets_per_trigger: 9, starting_offsets: latest, fail_on_data_loss: false}\n").consumer;
    let camel = load("consumer: {maxOffsetsPerTrigger: 9, startingOffsets: latest, failOnDataLoss: false}\n").consumer;
    let kafka =
        load("kafka: {startingOffsets: latest, failOnDataLoss: false}\nconsumer: {maxOffsetsPerTrigger: 9}\n").consumer;
    assert_eq!(format!("{snake:?}"), format!("{camel:?}"));
    assert_eq!(format!("{snake:?}"), format!("{kafka:?}"));
}
