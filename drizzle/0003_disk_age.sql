ALTER TABLE `worker_nodes` ADD `commits` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `worker_nodes` ADD `cloned_counter` integer DEFAULT 0 NOT NULL;