CREATE TABLE `lost_births` (
	`job_id` text NOT NULL,
	`birth` text NOT NULL,
	`lost_ms` integer NOT NULL,
	PRIMARY KEY(`job_id`, `birth`)
);
--> statement-breakpoint
CREATE INDEX `lost_births_by_age` ON `lost_births` (`lost_ms`);