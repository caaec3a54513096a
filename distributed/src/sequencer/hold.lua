
if redis.call('GET', KEYS[1]) ~= '{owner}' then return 0 end
local op = ARGV[1]
if op == 'renew' then redis.call('PEXPIRE', KEYS[1], {lock_life})
elseif op == 'announce' then redis.call('SET', KEYS[3], ARGV[2]) redis.call('PEXPIRE', KEYS[1], {lock_life})
elseif op == 'delete' then redis.call('DEL', KEYS[2]) redis.call('PEXPIRE', KEYS[1], {lock_life})
elseif op == 'set' then redis.call('SET', KEYS[2], ARGV[2]) redis.call('DEL', KEYS[1])
elseif op == 'release' then redis.call('DEL', KEYS[1])
else return redis.error_reply('unknown operation') end
return 1
