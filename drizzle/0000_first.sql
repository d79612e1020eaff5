CREATE TABLE `jobs` (
	`job_id` text PRIMARY KEY NOT NULL,
	`status` text NOT NULL,
	`task_type` text NOT NULL,
	`command` text NOT NULL,
	`target_node_id` text,
	`created_by_node` text NOT NULL,
	`env` text NOT NULL,
	`timeout_seconds` integer NOT NULL,
	`priority` integer NOT NULL,
	`attempt` integer NOT NULL,
	`exit_code` integer,
	`error_message` text,
	`created_ms` integer NOT NULL,
	`started_ms` integer,
	`finished_ms` integer,
	`updated_ms` integer NOT NULL,
	`stdout_from` integer,
	`stdout_bytes` integer,
	`stderr_from` integer,
	`stderr_bytes` integer,
	`created_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', created_ms / 1000.0, 'unixepoch')) VIRTUAL,
	`started_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', started_ms / 1000.0, 'unixepoch')) VIRTUAL,
	`finished_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', finished_ms / 1000.0, 'unixepoch')) VIRTUAL,
	`updated_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', updated_ms / 1000.0, 'unixepoch')) VIRTUAL,
	`stdout` text GENERATED ALWAYS AS (CAST(substr(body, stdout_from, stdout_bytes) AS TEXT)) VIRTUAL,
	`stderr` text GENERATED ALWAYS AS (CAST(substr(body, stderr_from, stderr_bytes) AS TEXT)) VIRTUAL,
	`birth` text NOT NULL,
	`rs` text NOT NULL,
	`old_rs` text NOT NULL,
	`promised_counter` integer NOT NULL,
	`promised_node` text NOT NULL,
	`accepted_counter` integer NOT NULL,
	`accepted_node` text NOT NULL,
	`accepted_version` integer NOT NULL,
	`writer_boot` text NOT NULL,
	`min_version` integer NOT NULL,
	`unreadable` text,
	`body` blob NOT NULL
);
--> statement-breakpoint
CREATE INDEX `jobs_by_status` ON `jobs` (`status`,`created_ms`,`job_id`);--> statement-breakpoint
CREATE INDEX `jobs_by_age` ON `jobs` (`created_ms`,`job_id`);--> statement-breakpoint
CREATE TABLE `meta` (
	`name` text PRIMARY KEY NOT NULL,
	`value` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `outbox` (
	`job_id` text NOT NULL,
	`fence` text NOT NULL,
	`rs` text NOT NULL,
	`outcome` blob NOT NULL,
	`unreadable` text,
	PRIMARY KEY(`job_id`, `fence`)
);
--> statement-breakpoint
CREATE TABLE `started` (
	`job_id` text NOT NULL,
	`fence` text NOT NULL,
	`started_ms` integer NOT NULL,
	`started_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', started_ms / 1000.0, 'unixepoch')) VIRTUAL,
	`is_over` integer NOT NULL,
	`granted` blob NOT NULL,
	`unreadable` text,
	PRIMARY KEY(`job_id`, `fence`)
);
--> statement-breakpoint
CREATE TABLE `worker_nodes` (
	`node_id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`hostname` text NOT NULL,
	`address` text NOT NULL,
	`api_address` text NOT NULL,
	`status` text NOT NULL,
	`version` text NOT NULL,
	`slots` integer NOT NULL,
	`supported_task_types` text NOT NULL,
	`labels` text NOT NULL,
	`capabilities` text NOT NULL,
	`metadata` text NOT NULL,
	`hosts` text NOT NULL,
	`link_port` integer NOT NULL,
	`boot_counter` integer NOT NULL,
	`boot_salt` text NOT NULL,
	`last_heartbeat_ms` integer NOT NULL,
	`created_ms` integer NOT NULL,
	`updated_ms` integer NOT NULL,
	`last_heartbeat` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', last_heartbeat_ms / 1000.0, 'unixepoch')) VIRTUAL,
	`created_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', created_ms / 1000.0, 'unixepoch')) VIRTUAL,
	`updated_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', updated_ms / 1000.0, 'unixepoch')) VIRTUAL
);
