"""The files bench on Spark: CSV files -> Structured Streaming -> JDBC staging -> one merge a batch.

usage: spark_files.py <folder of CSV files> <postgres url> <JDBC driver's jar> <scratch folder>

The tables user_events, staging (unlogged) and rejected are there. The last line on stdout is a JSON object.
"""

import json
import sys
import time

import psycopg
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

folder, url, jar, scratch = sys.argv[1:]
started = time.time()

spark = (
    SparkSession.builder.master("local[2]")
    .appName("files")
    .config("spark.driver.memory", "4g")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.jars", jar)
    .config("spark.ui.enabled", "false")
    .config("spark.local.dir", f"{scratch}/local")
    .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
    .config("spark.sql.session.timeZone", "UTC")
    # one for each core: the default of 200 is for clusters
    .config("spark.sql.shuffle.partitions", "2")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
ready = time.time()

columns = ["event_id", "user_id", "event_type", "product_id", "price", "event_timestamp"]
events = (
    spark.readStream.schema(", ".join(f"{name} string" for name in columns))
    .option("header", True)
    # 25 of 100 files a batch: 10 cost more processor time, 50 and 100 save none
    .option("maxFilesPerTrigger", 25)
    .csv(folder)
)

price = F.expr("try_cast(price as decimal(12, 2))")
event_timestamp = F.expr("try_cast(event_timestamp as timestamp)")
event_types = F.col("event_type").isin("view", "add_to_cart", "purchase")
reason = (
    F.when(F.coalesce(F.col("event_id"), F.lit("")) == "", "no event_id")
    .when(F.coalesce(F.col("user_id"), F.lit("")) == "", "no user_id")
    .when(~F.coalesce(event_types, F.lit(False)), "unknown event_type")
    .when(F.coalesce(F.col("product_id"), F.lit("")) == "", "no product_id")
    .when(price.isNull() | (price < 0), "not a price")
    .when(event_timestamp.isNull(), "not a time")
)
judged = events.withColumn("reason", reason).withColumn("file", F.col("_metadata.file_name"))

jdbc = "jdbc:" + url.replace("postgres@", "") + "?reWriteBatchedInserts=true&stringtype=unspecified"
options = {"driver": "org.postgresql.Driver", "user": "postgres", "batchsize": "10000", "isolationLevel": "READ_COMMITTED"}
connection = psycopg.connect(url)
batches = 0
phases = {"staging": 0.0, "merge": 0.0, "rejected": 0.0}


def timed(phase, since):
    now = time.time()
    phases[phase] += now - since
    return now


def land(batch, _number):
    global batches
    batches += 1
    now = time.time()
    connection.execute("truncate staging")
    connection.commit()
    # Repeats, in a batch or across them, are left to the merge, and the files are read twice, for good and for bad
    # rows: dropDuplicates here cost Spark 15 % more processor time, and persist() as much again.
    good = batch.where("reason is null").withColumn("price", price).withColumn("event_timestamp", event_timestamp)
    good = good.select(columns)
    good.write.jdbc(jdbc, "staging", "append", options)
    now = timed("staging", now)
    names = ", ".join(columns)
    connection.execute(f"insert into user_events ({names}) select {names} from staging on conflict do nothing")
    connection.commit()
    now = timed("merge", now)
    batch.where("reason is not null").coalesce(1).write.jdbc(jdbc, "rejected", "append", options)
    timed("rejected", now)


query = (
    judged.writeStream.foreachBatch(land)
    .option("checkpointLocation", f"{scratch}/checkpoint")
    .trigger(availableNow=True)
    .start()
)
query.awaitTermination()
ended = time.time()
print(
    json.dumps(
        {
            "version": spark.version,
            "batches": batches,
            "session_seconds": round(ready - started, 3),
            "seconds": round(ended - ready, 3),
            "phases": {name: round(seconds, 3) for name, seconds in phases.items()},
        }
    ),
    flush=True,
)
spark.stop()
