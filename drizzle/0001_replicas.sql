CREATE TABLE `bans` (
	`node_id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`banned_ms` integer NOT NULL,
	`banned_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', banned_ms / 1000.0, 'unixepoch')) VIRTUAL
);
--> statement-breakpoint
CREATE TABLE `conflicts` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`job_id` text NOT NULL,
	`tag` text NOT NULL,
	`note` text NOT NULL,
	`found_ms` integer NOT NULL,
	`found_at` text GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%fZ', found_ms / 1000.0, 'unixepoch')) VIRTUAL
);
--> statement-breakpoint
CREATE INDEX `conflicts_by_age` ON `conflicts` (`found_ms`,`id`);--> statement-breakpoint
CREATE TABLE `promises` (
	`job_id` text PRIMARY KEY NOT NULL,
	`counter` integer NOT NULL,
	`node` text NOT NULL,
	`retired` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
DROP INDEX `jobs_by_status`;--> statement-breakpoint
DROP INDEX `jobs_by_age`;--> statement-breakpoint
ALTER TABLE `jobs` ADD `settled` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `jobs` ADD `lacking` text;--> statement-breakpoint
ALTER TABLE `jobs` ADD `is_stub` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
-- The version before kept every job on one disk alone, where a final state is decided at once.
UPDATE `jobs` SET `settled` = 2 WHERE `finished_ms` IS NOT NULL;--> statement-breakpoint
CREATE INDEX `jobs_by_end` ON `jobs` (`settled`,`is_stub`,`finished_ms`) WHERE "finished_ms" IS NOT NULL;--> statement-breakpoint
CREATE INDEX `jobs_marked` ON `jobs` (`lacking`) WHERE "lacking" IS NOT NULL;--> statement-breakpoint
CREATE INDEX `jobs_by_status` ON `jobs` (`status`,`created_ms`,`job_id`) WHERE "is_stub" = 0;--> statement-breakpoint
CREATE INDEX `jobs_by_age` ON `jobs` (`created_ms`,`job_id`) WHERE "is_stub" = 0;