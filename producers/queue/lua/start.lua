-- Mark a suspect as started, just before it runs: should the worker die now, this job is what it died of.
-- flags: allow-oom
--
-- ARGV: id, lease token
-- Answer: 1, or 0 where the lease is lost and the job must not run
if redis.call('HGET', job_key(ARGV[1]), 'lease') ~= ARGV[2] then return 0 end
redis.call('HSET', job_key(ARGV[1]), 'started', ARGV[2])
return 1
