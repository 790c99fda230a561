import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * The windows bench on Flink: two topics of Kafka -> Flink SQL -> one row for each window and stream, in Postgres.
 *
 * <p>usage: java -cp ... Windows &lt;brokers&gt; &lt;postgres url&gt; &lt;scratch folder&gt; &lt;folder of the word lists&gt;
 *
 * <p>Set up to do well: the heap as state, slices shared by the windows that overlap, results in large batches, each window
 * once, when it closes. Distinct chatters are exact. The last line on stdout is a JSON object.
 */
public class Windows {
  public static void main(String[] args) throws Exception {
    long started = System.currentTimeMillis();
    String brokers = args[0], jdbc = args[1], scratch = args[2], words = args[3];
    try (java.sql.Connection postgres = java.sql.DriverManager.getConnection(jdbc)) {
      postgres.createStatement().execute(
          """
          create table chat_summary_flink (
            stream_id text, window_start timestamp, chat_count bigint, unique_chatters bigint, avg_sentiment float8,
            positive_count bigint, negative_count bigint, emote_counts text, avg_viewers float8, peak_viewers bigint,
            primary key (stream_id, window_start))""");
    }
    Configuration settings = new Configuration();
    settings.setString("taskmanager.memory.managed.size", "512m");
    settings.setString("taskmanager.memory.network.min", "128m");
    settings.setString("taskmanager.memory.network.max", "128m");
    settings.setString("execution.checkpointing.interval", "5s");
    settings.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
    settings.setString("state.backend.type", "hashmap");
    settings.setString("execution.checkpointing.storage", "filesystem");
    settings.setString("execution.checkpointing.dir", Path.of(scratch, "checkpoints").toUri().toString());
    settings.setString("table.local-time-zone", "UTC");
    StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(2, settings);
    StreamTableEnvironment tables = StreamTableEnvironment.create(
        environment, EnvironmentSettings.newInstance().withConfiguration(settings).inStreamingMode().build());
    tables.createTemporarySystemFunction("MOOD", new Mood(list(words, "lexicon.json", "positive"), list(words, "lexicon.json", "negative")));
    tables.createTemporarySystemFunction("EMOTE_COUNTS", new EmoteCounts(list(words, "emotes.json", null)));

    String lateness = "WATERMARK FOR t AS t - INTERVAL '10' SECOND";
    tables.executeSql(
        """
        CREATE TABLE chat (stream_id STRING, user_id STRING, message STRING, emotes ARRAY<STRING>,
          `timestamp` TIMESTAMP_LTZ(3), t AS `timestamp`, %s) WITH (%s)"""
            .formatted(lateness, topic(brokers, "telemetra.events.chat")));
    tables.executeSql(
        """
        CREATE TABLE viewers (stream_id STRING, viewer_count BIGINT, `timestamp` BIGINT,
          t AS TO_TIMESTAMP_LTZ(`timestamp`, 3), %s) WITH (%s)"""
            .formatted(lateness, topic(brokers, "telemetra.events.viewer")));
    // two tables of Flink for one of Postgres: each statement upserts its own columns
    tables.executeSql(
        """
        CREATE TABLE chat_summary (stream_id STRING, window_start TIMESTAMP(3), chat_count BIGINT, unique_chatters BIGINT,
          avg_sentiment DOUBLE, positive_count BIGINT, negative_count BIGINT, emote_counts STRING,
          PRIMARY KEY (stream_id, window_start) NOT ENFORCED) WITH (%s)"""
            .formatted(sink(jdbc)));
    tables.executeSql(
        """
        CREATE TABLE viewer_summary (stream_id STRING, window_start TIMESTAMP(3), avg_viewers DOUBLE, peak_viewers BIGINT,
          PRIMARY KEY (stream_id, window_start) NOT ENFORCED) WITH (%s)"""
            .formatted(sink(jdbc)));
    tables.executeSql("CREATE TEMPORARY VIEW moods AS SELECT stream_id, user_id, message, emotes, t, MOOD(message) AS mood FROM chat");

    StatementSet both = tables.createStatementSet();
    both.addInsertSql(
        """
        INSERT INTO chat_summary
        SELECT stream_id, window_start, COUNT(*), COUNT(DISTINCT user_id), AVG(mood), COUNT(*) FILTER (WHERE mood > 0),
          COUNT(*) FILTER (WHERE mood < 0), EMOTE_COUNTS(message, emotes)
        FROM TABLE(HOP(TABLE moods, DESCRIPTOR(t), INTERVAL '10' SECOND, INTERVAL '1' MINUTE))
        GROUP BY stream_id, window_start, window_end""");
    both.addInsertSql(
        """
        INSERT INTO viewer_summary
        SELECT stream_id, window_start, AVG(CAST(viewer_count AS DOUBLE)), MAX(viewer_count)
        FROM TABLE(HOP(TABLE viewers, DESCRIPTOR(t), INTERVAL '10' SECOND, INTERVAL '1' MINUTE))
        GROUP BY stream_id, window_start, window_end""");
    both.execute().await();
    System.out.printf(Locale.ROOT, "{\"seconds\": %.3f}%n", (System.currentTimeMillis() - started) / 1e3);
    System.exit(0);
  }

  static String topic(String brokers, String name) {
    return """
        'connector' = 'kafka', 'topic' = '%s', 'properties.bootstrap.servers' = '%s', 'properties.group.id' = 'bench',
        'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json',
        'json.timestamp-format.standard' = 'ISO-8601'"""
        .formatted(name, brokers);
  }

  static String sink(String jdbc) {
    return """
        'connector' = 'jdbc', 'url' = '%s', 'table-name' = 'chat_summary_flink', 'sink.buffer-flush.max-rows' = '1000',
        'sink.buffer-flush.interval' = '1s'"""
        .formatted(jdbc);
  }

  /** A list of words of a JSON file, or of one field of it; they have no escapes. */
  static List<String> list(String folder, String file, String field) throws Exception {
    String json = Files.readString(Path.of(folder, file));
    int from = field == null ? 0 : json.indexOf('"' + field + '"') + field.length() + 2;
    String inside = json.substring(json.indexOf('[', from) + 1, json.indexOf(']', from));
    return Arrays.stream(inside.split(",")).map(word -> word.strip().replace("\"", "")).toList();
  }

  /** Good words less bad ones, of their number; 0 where there are none. */
  public static class Mood extends ScalarFunction {
    private final Set<String> good, bad;

    Mood(List<String> good, List<String> bad) {
      this.good = new HashSet<>(good);
      this.bad = new HashSet<>(bad);
    }

    /** Else the planner would copy the call into each expression that uses it. */
    @Override
    public boolean isDeterministic() {
      return false;
    }

    public double eval(String message) {
      if (message == null) return 0;
      int up = 0, down = 0;
      for (int from = 0; from <= message.length(); ) {
        int to = message.indexOf(' ', from);
        if (to < 0) to = message.length();
        String word = message.substring(from, to).toLowerCase(Locale.ROOT);
        if (good.contains(word)) up++;
        else if (bad.contains(word)) down++;
        from = to + 1;
      }
      return up + down == 0 ? 0 : (up - down) / (double) (up + down);
    }
  }

  /** How often each emote was used, as JSON. */
  public static class EmoteCounts extends AggregateFunction<String, long[]> {
    private final String[] emotes;
    private transient java.util.HashMap<String, Integer> places;

    EmoteCounts(List<String> emotes) {
      this.emotes = emotes.toArray(String[]::new);
    }

    @Override
    public void open(FunctionContext context) {
      places = new java.util.HashMap<>();
      for (int i = 0; i < emotes.length; i++) places.put(emotes[i], i);
    }

    @Override
    public @DataTypeHint("ARRAY<BIGINT NOT NULL>") long[] createAccumulator() {
      return new long[emotes.length];
    }

    public void accumulate(@DataTypeHint("ARRAY<BIGINT NOT NULL>") long[] counts, String message, String[] named) {
      if (named == null && message == null) return;
      for (String word : named == null ? message.split(" ") : named) {
        Integer place = places.get(word);
        if (place != null) counts[place]++;
      }
    }

    public void merge(@DataTypeHint("ARRAY<BIGINT NOT NULL>") long[] counts, Iterable<long[]> others) {
      for (long[] other : others) for (int i = 0; i < counts.length; i++) counts[i] += other[i];
    }

    @Override
    public String getValue(long[] counts) {
      StringBuilder json = new StringBuilder("{");
      for (int i = 0; i < counts.length; i++) {
        if (counts[i] == 0) continue;
        if (json.length() > 1) json.append(',');
        json.append('"').append(emotes[i]).append("\":").append(counts[i]);
      }
      return json.append('}').toString();
    }
  }
}
