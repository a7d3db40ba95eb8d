-- What a TSP instrument's Lua has beside Lua itself: a tree of attributes and functions that Python answers for, print,
-- named scripts, and fences around everything a client could hang or break the program with. Runs once, before any
-- client's line; what it does not put into _G no client can reach.

local read, write, invoke, show, complain, exhausted, fence, node_paths, function_paths, instructions, kilobytes = ...

local sethook, getinfo, collect = debug.sethook, debug.getinfo, collectgarbage
local error, type, select, setmetatable, loadstring, pcall, tostring, rawget, unpack =
  error, type, select, setmetatable, loadstring, pcall, tostring, rawget, unpack
local find, gsub, sub, rep, insert, floor = string.find, string.gsub, string.sub, string.rep, table.insert, math.floor
local nodes, paths, children = {}, setmetatable({}, {__mode = "k"}), {}

-- a value for Python: text marked by ', a node by @; numbers, booleans and nil as they are; nothing else gets there
local function pack_one(value)
  local kind = type(value)
  if kind == "number" or kind == "boolean" or kind == "nil" then return value end
  if kind == "string" then return "'" .. value end
  if paths[value] then return "@" .. paths[value] end
  error("a " .. kind .. " is no parameter here", 0)
end

local function pack(count, first, ...)
  if count == 0 then return end
  if count > 100 then error("too many parameters", 0) end
  return pack_one(first), pack(count - 1, ...)
end

local node

local function answer(status, ...)
  if status == "value" then return ... end
  if status == "node" then return node((...)) end
  error((...), 0)
end

function node(path)
  if nodes[path] then return nodes[path] end
  local own = children[path] or {}
  children[path] = own
  local made = setmetatable({}, {
    __index = function(_, key)
      local child = own[key]
      if child ~= nil then return child end
      return answer(read(path, pack_one(key)))
    end,
    __newindex = function(_, key, value)
      if own[key] ~= nil then error("cannot assign to " .. path .. "." .. tostring(key), 0) end
      return answer(write(path, pack_one(key), pack_one(value)))
    end,
    __call = function(_, ...) return answer(invoke(path, pack(select("#", ...), ...))) end,
    __metatable = "locked",
  })
  nodes[path], paths[made] = made, path
  return made
end

local function place(path, value)
  local head, tail = string.match(path, "^(.-)%.?([^%.]+)$")
  if head == "" then _G[tail] = value else node(head); children[head][tail] = value end
end

for i = 1, #node_paths do place(node_paths[i], node(node_paths[i])) end
for i = 1, #function_paths do
  local path = function_paths[i]
  place(path, function(...) return answer(invoke(path, pack(select("#", ...), ...))) end)
end

local function show_one(value)
  local kind = type(value)
  if kind == "number" or kind == "boolean" or kind == "nil" then return value end
  return "'" .. (paths[value] or tostring(value))
end

local function show_all(count, first, ...)
  if count == 0 then return end
  if count > 1000 then error("too many values to print", 0) end
  return show_one(first), show_all(count - 1, ...)
end

function print(...) return answer(show(show_all(select("#", ...), ...))) end

-- ------------------------------------------------------------------------------------------------------- scripts

local function compile(source, name)
  if type(source) ~= "string" then error("a script is a string", 0) end
  if sub(source, 1, 1) == "\27" then return nil, name .. ":1: no bytecode" end -- it could crash the program
  return loadstring(source, "=" .. name)
end

script = {user = {scripts = {}}}

local function make_script(source, name)
  local run, fault = compile(source, name == "" and "script" or name)
  if not run then return nil, fault end
  local made = {name = name, source = source, run = run, autorun = "no", save = function() end}
  setmetatable(made, {__call = function() return run() end})
  if name == "" then script.anonymous = made else _G[name], script.user.scripts[name] = made, made end
  return made
end

function script.new(source, name)
  local made, fault = make_script(source, name or "")
  if not made then complain(-285, tostring(fault)) end
  return made
end
script.load = script.new
function script.run() return script.anonymous.run() end
function script.delete(name) script.user.scripts[name] = nil; _G[name] = nil end
function script.user.catalog() return pairs(script.user.scripts) end

-- -------------------------------------------------------------------------------------------------------- fences

-- The matcher backtracks outside of the count of instructions: no worse than (length of the text)^(repetitions).
local function fenced(match)
  return function(text, pattern, ...)
    local _, repetitions = gsub(tostring(pattern), "[%*%+%-%?bf]", "")
    if (#tostring(text) + 1) ^ (repetitions + 1) > 1e8 and repetitions > 1 then error("pattern too complex", 0) end
    return match(text, pattern, ...)
  end
end
for _, name in pairs({"find", "match", "gmatch", "gsub"}) do string[name] = fenced(string[name]) end
string.gfind = string.gmatch

function string.rep(text, count)
  if not (#tostring(text) * count <= 1e6 and count <= 1e6) then error("out of memory", 0) end
  return rep(text, count)
end
string.dump = nil

function table.insert(...)
  local list, place = ...
  if select("#", ...) > 2 and not (place >= 1 and place <= #list + 1) then error("position out of bounds", 0) end
  return insert(...)
end

_G.loadstring = function(source, name) return compile(source, name or "script") end
function collectgarbage() return 0 end
function gcinfo() return floor(collect("count")), floor(kilobytes) end

for _, name in pairs({"os", "io", "package", "require", "module", "dofile", "loadfile", "load", "debug", "python", "newproxy",
  "coroutine", "getfenv", "setfenv"}) do
  _G[name] = nil
end

-- Run one script. When its instructions, its time or its memory are used up every further instruction raises, so that
-- no pcall of the script's own can keep it alive; only the instructions of this function itself are spared.
local run, spent

local function stop()
  if getinfo(2, "f").func == run then sethook() else error("aborted: too long, or out of memory", 0) end
end

local function count()
  spent = spent + 1000
  if collect("count") > kilobytes then collect("collect") end
  if spent > instructions or collect("count") > kilobytes or exhausted() then
    sethook(stop, "", 1)
    stop()
  end
end

function run(source, name, keep)
  spent = 0
  if collect("count") > kilobytes / 2 then collect("collect") end
  local chunk, fault
  if keep == nil then chunk, fault = compile(source, name) else chunk, fault = make_script(source, name) end
  if not chunk then return "syntax", tostring(fault) end
  if keep then return "done" end
  local body = keep == nil and chunk or chunk.run
  fence(true)
  sethook(count, "", 1000)
  local fine, problem = pcall(body)
  sethook()
  fence(false)
  if fine then return "done" end
  return "runtime", type(problem) == "string" and problem or "(the error is no text)"
end

return run
